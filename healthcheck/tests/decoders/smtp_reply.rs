//! Whatever a server sends: a reply is found in the bytes that it fills and in no fewer, and what follows it changes
//! nothing.

use buoy_healthcheck::checker::smtp::parse_reply;

pub(crate) fn check(received: &[u8]) {
    let Ok(Some((reply, taken))) = parse_reply(received) else { return };
    assert!(reply.code <= 999 && taken <= received.len());
    let whole = &received[..taken];
    assert_eq!(parse_reply(whole), Ok(Some((reply, taken))));
    for len in 0..taken {
        assert_eq!(parse_reply(&received[..len]), Ok(None), "no reply is found before its end");
    }
}
