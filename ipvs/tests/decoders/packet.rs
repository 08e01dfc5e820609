//! Any bytes from a wire: what is read of them lies within them, errors and tunnels quote no more than there is, and
//! fragments become packets or wait in bounded memory.

use std::time::{Duration, Instant};

use buoy_ipvs::engine::buffer::{HEADROOM, Offload, Packet};
use buoy_ipvs::engine::connections::PacketKey;
use buoy_ipvs::engine::forward::icmp::{self, Quote, Tunnelled};
use buoy_ipvs::engine::packet::{Fragment, View};
use buoy_ipvs::engine::reassembly::{Limits, Reassembly};

const LIMITS: Limits = Limits { bytes: 4000, datagrams: 4, fragments: 6 };

/// The first byte says how the rest is cut: one packet, or several, each behind its length.
pub(crate) fn check(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let mut reassembly = Reassembly::new(LIMITS, HEADROOM);
    let mut now = Instant::now();
    if first % 2 == 0 {
        return check_packet(rest, &mut reassembly, now);
    }
    let mut rest = rest;
    while let Some((length, behind)) = rest.split_first() {
        let (packet, others) = behind.split_at(usize::from(*length).min(behind.len()));
        check_packet(packet, &mut reassembly, now);
        rest = others;
        now += Duration::from_secs(u64::from(first / 2));
    }
    reassembly.handle_timeout(now + Duration::from_secs(61));
    assert_eq!((reassembly.len(), reassembly.bytes()), (0, 0));
}

fn check_packet(bytes: &[u8], reassembly: &mut Reassembly, now: Instant) {
    let Ok(view) = View::read(bytes) else { return };
    assert!(view.transport <= view.end && view.end <= bytes.len(), "{view:?}");
    assert_eq!(view.payload(bytes).len(), view.end - view.transport);
    // What pads it is none of it.
    assert_eq!(View::read(&bytes[..view.end]), Ok(view));
    if let Some(ports) = view.ports {
        assert_eq!(view.payload(bytes)[..2], ports.source.to_be_bytes());
        let key = PacketKey::of(&view).expect("it has ports");
        assert_eq!(key.reversed().reversed(), key);
    }
    check_quote(bytes, &view);
    check_answer(bytes, &view);
    let whole = reassembly.take(bytes, &view, now);
    assert!(whole.is_err() || view.fragment != Fragment::Whole);
    if let Ok(Some(whole)) = whole {
        assert_eq!(View::read(whole.packet()), Ok(whole.view));
        assert_eq!(whole.view.fragment, Fragment::Whole);
        assert!(whole.longest <= whole.packet().len() + 8 && whole.start == HEADROOM);
        check_quote(whole.packet(), &whole.view);
    }
    assert!(reassembly.bytes() <= LIMITS.bytes && reassembly.len() <= LIMITS.datagrams);
}

/// Of an error about a tunnel, what its client is told is a packet too.
fn check_quote(bytes: &[u8], view: &View) {
    let mut buffer = [&[0; HEADROOM], bytes].concat();
    let end = buffer.len();
    let mut packet = Packet::new(&mut buffer, HEADROOM, end, Offload::default()).expect("within");
    let Ok(quote) = Quote::read(&packet, view) else { return };
    assert!(quote.view.transport <= quote.view.end && quote.view.end <= view.end, "{quote:?}");
    let Ok(tunnelled) = Tunnelled::read(&packet, &quote) else { return };
    let inside = view.transport + 8 + tunnelled.overhead;
    assert!(inside + tunnelled.view.end <= view.end, "{tunnelled:?}");
    if tunnelled.relay(&mut packet, 1400, 7).is_ok() {
        let told = View::read(packet.bytes()).expect("a packet");
        assert_eq!((told.source, told.destination), (tunnelled.view.destination, tunnelled.view.source));
    }
}

fn check_answer(bytes: &[u8], view: &View) {
    for error in [icmp::Error::TooBig { mtu: 1280 }, icmp::Error::PortUnreachable] {
        let mut buffer = [&[0; HEADROOM], bytes].concat();
        let end = buffer.len();
        let mut packet = Packet::new(&mut buffer, HEADROOM, end, Offload::default()).expect("within");
        match icmp::answer(&mut packet, view, error, view.destination, 7) {
            Ok(()) => {
                let answer = View::read(packet.bytes()).expect("a packet");
                assert_eq!((answer.source, answer.destination), (view.destination, view.source));
                let quote = Quote::read(&packet, &answer).expect("an error");
                assert_eq!((quote.view.source, quote.view.destination), (view.source, view.destination));
            }
            Err(_silence) => assert_eq!(packet.bytes(), bytes),
        }
    }
}
