//! What a packet costs in system calls, printed:
//! `cargo test --release -p buoy-vrrp --test wire -- --ignored --nocapture costs`

use std::time::{Duration, Instant};

use buoy_vrrp::{
    AdvertisementFrame, AdvertisementView, AnnounceSocket, Carrier, Clock, Drain, Family, Listen,
    MULTICAST_V4, MULTICAST_V6, MacAddr, Outgoing, ReceiveBatch, ReceiveSocket, RouterSettings, SendSocket,
    Version, gratuitous_arp,
};

use crate::namespace::{Cable, End, interface, readable};
use crate::settings::router;

const ROUNDS: u32 = 200;

fn print(what: &str, time: Duration, packets: u32) {
    println!("{what}: {:.2} us", time.as_secs_f64() * 1e6 / f64::from(packets));
}

fn measure(cable: &Cable, settings: &RouterSettings, source: &str, group: std::net::IpAddr, burst: u32) {
    cable.enter(End::Right);
    let listen = Listen::Group { group, interface: interface("right0") };
    let mut receiver = ReceiveSocket::open(&listen, Carrier::Plain, 1 << 22).unwrap();
    let (mut batch, mut clock) = (ReceiveBatch::default(), Clock::default());
    cable.enter(End::Left);
    let sender = SendSocket::open(settings.family, Some(&interface("left0"))).unwrap();
    let frame = AdvertisementFrame::new(settings, source.parse().unwrap(), group).unwrap();
    let mut frames = vec![frame; burst as usize];
    let (mut sending, mut receiving, mut read) = (Duration::ZERO, Duration::ZERO, 0);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        if burst == 1 {
            sender.send(frames[0].next_packet()).unwrap();
        } else {
            let outgoing: Vec<Outgoing<'_>> =
                frames.iter_mut().map(AdvertisementFrame::next_packet).collect();
            sender.send_batch(&outgoing, |at, error| panic!("{at}: {error:?}"));
        }
        sending += start.elapsed();
        assert!(readable(&receiver));
        let start = Instant::now();
        loop {
            let drain = receiver.receive(&mut batch, &mut clock).unwrap();
            for packet in batch.packets() {
                AdvertisementView::parse(packet.pdu, settings.family, packet.carrier_len).unwrap();
                read += 1;
            }
            if drain == Drain::Empty {
                break;
            }
        }
        receiving += start.elapsed();
    }
    assert_eq!(read, ROUNDS * burst);
    let family = settings.family;
    print(&format!("{family} send, bursts of {burst}"), sending, read);
    print(&format!("{family} receive and parse, bursts of {burst}"), receiving, read);
}

#[test]
#[ignore = "a measurement"]
fn costs_of_sending_and_receiving() {
    let Some(cable) = Cable::plug() else { return };
    let four = router(Version::V3, 31, 131, 1.0, &["10.99.1.31"]);
    let six = router(Version::V3, 61, 161, 1.0, &["fe80::61"]);
    for burst in [1, 64] {
        measure(&cable, &four, "10.99.0.1", MULTICAST_V4.into(), burst);
        measure(&cable, &six, "fe80::1", MULTICAST_V6.into(), burst);
    }
}

#[test]
#[ignore = "a measurement"]
fn costs_of_patching_signing_and_announcing() {
    let Some(cable) = Cable::plug() else { return };
    let four = router(Version::V3, 31, 131, 1.0, &["10.99.1.31"]);
    let (source, group) = ("10.99.0.1".parse().unwrap(), MULTICAST_V4.into());
    let mut frame = AdvertisementFrame::new(&four, source, group).unwrap();
    let start = Instant::now();
    for n in 0..ROUNDS {
        frame.set_priority(buoy_vrrp::Priority::new(n.to_le_bytes()[0]));
        std::hint::black_box(frame.next_packet());
    }
    print("patch a priority", start.elapsed(), ROUNDS);

    let mut signed = router(Version::V2, 23, 103, 1.0, &["10.99.1.23"]);
    signed.authentication = buoy_vrrp::Authentication::AuthenticationHeader(*b"12345678");
    let mut frame = AdvertisementFrame::new(&signed, source, group).unwrap();
    let start = Instant::now();
    for _ in 0..ROUNDS {
        std::hint::black_box(frame.next_packet());
    }
    print("sign", start.elapsed(), ROUNDS);

    cable.enter(End::Left);
    let mut announce = AnnounceSocket::open(Family::V4, &interface("left0")).unwrap();
    let start = Instant::now();
    for n in 0..ROUNDS {
        let address = (0x0a63_0000 + n).to_be_bytes();
        announce.send(&gratuitous_arp(MacAddr(2, 0, 0, 0, 0, 1), address.into())).unwrap();
    }
    print("make and send a gratuitous ARP", start.elapsed(), ROUNDS);
}
