use super::*;

fn error_frame(code: i32, flags: u16, rest: &[u8]) -> Vec<u8> {
    let mut payload = code.to_ne_bytes().to_vec();
    payload.extend(rest);
    let mut bytes = Vec::new();
    append(&mut bytes, &Request { kind: NLMSG_ERROR, flags, payload }, flags, 7);
    bytes
}

fn only(bytes: &[u8]) -> Option<Refusal> {
    frames(bytes).next().and_then(|frame| refusal(&frame))
}

#[test]
fn an_acknowledgement_is_no_refusal() {
    assert_eq!(only(&error_frame(0, 0, &[0; 16])), None);
}

#[test]
fn a_refusal_has_the_kernels_own_words() {
    // The header of the refused message, capped, then NLMSGERR_ATTR_MSG.
    let mut rest = vec![0; 16];
    rest.extend([10, 0, 1, 0]);
    rest.extend(b"bad.x\0\0\0");
    let refusal = only(&error_frame(-22, NLM_F_CAPPED | NLM_F_ACK_TLVS, &rest)).unwrap();
    assert_eq!(refusal.errno, Errno::EINVAL);
    assert_eq!(refusal.to_string(), "Invalid argument (bad.x)");
    let silent = only(&error_frame(-19, NLM_F_CAPPED, &[0; 16])).unwrap();
    assert_eq!(silent.to_string(), "No such device");
}

#[test]
fn frames_end_where_the_buffer_lies() {
    let mut bytes = error_frame(0, 0, &[0; 16]);
    bytes.extend(error_frame(-1, 0, &[0; 16]));
    assert_eq!(frames(&bytes).count(), 2);
    for length in 0..bytes.len() {
        assert!(frames(&bytes[..length]).count() <= 1 || length == bytes.len());
    }
    for length in [0_u32, 1, 15, 4000, u32::MAX] {
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(frames(&bytes).count(), 0, "{length}");
    }
    for length in 0..36 {
        let truncated = error_frame(i32::MIN, NLM_F_ACK_TLVS, &vec![0xff; length]);
        assert!(only(&truncated).is_some());
    }
}

#[test]
fn a_send_is_bounded_in_messages_and_bytes() {
    let request = |bytes| Request { kind: rtm::NEWADDR, flags: 0, payload: vec![0; bytes] };
    assert_eq!(fitting(&vec![request(40); 500]), MESSAGES_PER_SEND);
    assert_eq!(fitting(&vec![request(20_000); 10]), 3);
    assert_eq!(fitting(&[request(BYTES_PER_SEND * 2)]), 1);
}
