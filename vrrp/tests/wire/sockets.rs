//! The sockets, over a cable between two namespaces.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use buoy_vrrp::{
    AdvertisementFrame, AdvertisementView, AnnounceSocket, Authentication, AuthenticationKey, Carrier,
    ChecksumSeen, Claim, Clock, Drain, Family, Forwarding, Interface, Listen, MULTICAST_V4, MULTICAST_V6,
    MacAddr, Outgoing, Priority, ReceiveBatch, ReceiveSocket, RouterSettings, SendSocket, Step, Version,
    gratuitous_arp, unsolicited_na,
};

use crate::namespace::{Cable, End, interface, ip, readable};
use crate::settings::{password, router, unicast};

const BUFFER: usize = 1 << 20;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn group(family: Family) -> IpAddr {
    match family {
        Family::V4 => MULTICAST_V4.into(),
        Family::V6 => MULTICAST_V6.into(),
    }
}

fn listen_to(group: IpAddr, interface: Interface) -> Listen {
    Listen::Group { group, interface }
}

fn v3_ipv4() -> RouterSettings {
    router(Version::V3, 31, 131, 1.0, &["10.99.1.31"])
}

fn v3_ipv6() -> RouterSettings {
    router(Version::V3, 61, 161, 1.0, &["fe80::61"])
}

struct Reader {
    socket: ReceiveSocket,
    batch: ReceiveBatch,
    clock: Clock,
}

impl Reader {
    fn open(listen: &Listen, carrier: Carrier) -> Self {
        let socket = ReceiveSocket::open(listen, carrier, BUFFER).unwrap();
        Self { socket, batch: ReceiveBatch::default(), clock: Clock::default() }
    }

    fn receive(&mut self) -> Drain {
        assert!(readable(&self.socket), "nothing arrived");
        self.socket.receive(&mut self.batch, &mut self.clock).unwrap()
    }

    fn has_nothing(&mut self) -> bool {
        let drain = self.socket.receive(&mut self.batch, &mut self.clock).unwrap();
        drain == Drain::Empty && self.batch.packets().len() == 0
    }
}

/// Sends one advertisement of `settings` from left to right and returns what the right end makes of it.
#[track_caller]
fn assert_arrives(
    cable: &Cable,
    settings: &RouterSettings,
    source: &str,
    destination: &str,
    listen: &Listen,
) {
    cable.enter(End::Right);
    let mut reader = Reader::open(listen, Carrier::Plain);
    cable.enter(End::Left);
    let sender = SendSocket::open(settings.family, Some(&interface("left0"))).unwrap();
    let mut frame = AdvertisementFrame::new(settings, address(source), address(destination)).unwrap();
    let hop_limit = 255;

    let before = Instant::now();
    sender.send(frame.next_packet()).unwrap();
    assert_eq!(reader.receive(), Drain::Empty);
    // Not "after sending": the kernel begins to stamp packets some time after the first socket that asks for it, and
    // until then a packet is stamped when it is read.
    let after = Instant::now();
    let received: Vec<_> = reader.batch.packets().collect();
    let [received] = &received[..] else { panic!("{received:?}") };
    assert_eq!((received.source, received.destination), (address(source), address(destination)));
    assert_eq!(received.hop_limit, hop_limit);
    let slack = Duration::from_millis(20);
    assert!(before - slack <= received.arrived && received.arrived <= after + slack);
    let view = AdvertisementView::parse(received.pdu, settings.family, received.carrier_len).unwrap();
    assert_eq!(view.vrid(), settings.vrid);
    assert_eq!(view.addresses().collect::<Vec<_>>(), settings.advertised);
    assert_eq!(view.checksum(received.source, received.destination), ChecksumSeen::Right);
    assert!(reader.has_nothing());
    assert_eq!((reader.socket.lost(), reader.socket.unreadable()), (0, 0));
}

fn right0(cable: &Cable) -> Interface {
    cable.enter(End::Right);
    interface("right0")
}

#[test]
fn multicast_advertisements_of_both_families_arrive_with_their_time() {
    let Some(cable) = Cable::plug() else { return };
    let on = right0(&cable);
    let listen = listen_to(group(Family::V4), on.clone());
    assert_arrives(&cable, &v3_ipv4(), "10.99.0.1", "224.0.0.18", &listen);
    let listen = listen_to(group(Family::V6), on);
    assert_arrives(&cable, &v3_ipv6(), "fe80::1", "ff02::12", &listen);
}

#[test]
fn unicast_advertisements_of_both_families_arrive_bound_to_a_device_or_not() {
    let Some(cable) = Cable::plug() else { return };
    let on = right0(&cable);
    let mut four = v3_ipv4();
    four.transport = unicast("10.99.0.2", 255);
    for interface in [None, Some(on.clone())] {
        let listen = Listen::Unicast { local: address("10.99.0.2"), interface };
        assert_arrives(&cable, &four, "10.99.0.1", "10.99.0.2", &listen);
    }
    let mut six = v3_ipv6();
    six.transport = unicast("fe80::2", 255);
    let listen = Listen::Unicast { local: address("fe80::2"), interface: Some(on) };
    assert_arrives(&cable, &six, "fe80::1", "fe80::2", &listen);
}

#[test]
fn local_address_may_appear_after_the_socket() {
    let Some(cable) = Cable::plug() else { return };
    cable.enter(End::Right);
    for (local, family) in [("10.99.0.77", Family::V4), ("2001:db8::77", Family::V6)] {
        let listen = Listen::Unicast { local: address(local), interface: None };
        assert_eq!(listen.family(), family);
        ReceiveSocket::open(&listen, Carrier::Plain, BUFFER).unwrap();
    }
}

#[test]
fn socket_hears_its_own_group_only() {
    let Some(cable) = Cable::plug() else { return };
    let on = right0(&cable);
    for (settings, source, own, other) in
        [(v3_ipv4(), "10.99.0.1", "224.0.0.18", "224.0.0.19"), (v3_ipv6(), "fe80::1", "ff02::12", "ff02::13")]
    {
        cable.enter(End::Right);
        let mut reader = Reader::open(&listen_to(address(own), on.clone()), Carrier::Plain);
        let mut neighbour = Reader::open(&listen_to(address(other), on.clone()), Carrier::Plain);
        cable.enter(End::Left);
        let sender = SendSocket::open(settings.family, Some(&interface("left0"))).unwrap();
        let mut frame = AdvertisementFrame::new(&settings, address(source), address(own)).unwrap();
        sender.send(frame.next_packet()).unwrap();
        reader.receive();
        assert_eq!(reader.batch.packets().len(), 1);
        assert!(neighbour.has_nothing());
    }
}

#[test]
fn own_multicast_is_not_looped_back() {
    let Some(cable) = Cable::plug() else { return };
    let on = right0(&cable);
    for (settings, source) in [(v3_ipv4(), "10.99.0.1"), (v3_ipv6(), "fe80::1")] {
        let group = group(settings.family);
        cable.enter(End::Right);
        let mut far = Reader::open(&listen_to(group, on.clone()), Carrier::Plain);
        cable.enter(End::Left);
        let mut own = Reader::open(&listen_to(group, interface("left0")), Carrier::Plain);
        let sender = SendSocket::open(settings.family, Some(&interface("left0"))).unwrap();
        let mut frame = AdvertisementFrame::new(&settings, address(source), group).unwrap();
        sender.send(frame.next_packet()).unwrap();
        far.receive();
        assert!(own.has_nothing());
    }
}

#[test]
fn signed_advertisement_verifies_after_the_kernel_has_sent_it() {
    let Some(cable) = Cable::plug() else { return };
    let mut settings = router(Version::V2, 23, 103, 1.0, &["10.99.1.23"]);
    settings.authentication = Authentication::AuthenticationHeader(password("k3y"));
    let on = right0(&cable);
    let mut reader = Reader::open(&listen_to(group(Family::V4), on), Carrier::AuthenticationHeader);
    cable.enter(End::Left);
    let sender = SendSocket::open(Family::V4, Some(&interface("left0"))).unwrap();
    let group = group(Family::V4);
    let mut frame = AdvertisementFrame::new(&settings, address("10.99.0.1"), group).unwrap();
    let key = AuthenticationKey::new(&password("k3y"));
    for sequence in 1..=3 {
        sender.send(frame.next_packet()).unwrap();
        reader.receive();
        let packet = reader.batch.packets().next().unwrap();
        let authenticated = key.verify(&packet.ipv4.unwrap()).unwrap();
        assert_eq!(authenticated.sequence, sequence);
        AdvertisementView::parse(authenticated.pdu, Family::V4, authenticated.carrier_len).unwrap();
    }
}

#[test]
fn burst_is_read_completely_in_order_and_with_rising_times() {
    let Some(cable) = Cable::plug() else { return };
    let on = right0(&cable);
    for (settings, source) in [(v3_ipv4(), "10.99.0.1"), (v3_ipv6(), "fe80::1")] {
        let group = group(settings.family);
        cable.enter(End::Right);
        let mut reader = Reader::open(&listen_to(group, on.clone()), Carrier::Plain);
        cable.enter(End::Left);
        let sender = SendSocket::open(settings.family, Some(&interface("left0"))).unwrap();
        let mut frames: Vec<AdvertisementFrame> = (0..200)
            .map(|priority| {
                let mut frame = AdvertisementFrame::new(&settings, address(source), group).unwrap();
                frame.set_priority(Priority::new(priority));
                frame
            })
            .collect();
        let outgoing: Vec<Outgoing<'_>> = frames.iter_mut().map(AdvertisementFrame::next_packet).collect();
        sender.send_batch(&outgoing, |at, error| panic!("{at}: {error:?}"));

        let (mut priorities, mut last) = (Vec::new(), None);
        assert!(readable(&reader.socket));
        loop {
            let drain = reader.socket.receive(&mut reader.batch, &mut reader.clock).unwrap();
            for packet in reader.batch.packets() {
                let view = AdvertisementView::parse(packet.pdu, settings.family, packet.carrier_len).unwrap();
                priorities.push(view.priority().get());
                assert!(last.is_none_or(|last| last <= packet.arrived));
                last = Some(packet.arrived);
            }
            if drain == Drain::Empty {
                break;
            }
        }
        assert_eq!(priorities, (0..200).collect::<Vec<u8>>());
    }
}

#[test]
fn packets_that_do_not_fit_the_buffer_are_counted_and_the_rest_stay_readable() {
    let Some(cable) = Cable::plug() else { return };
    let on = right0(&cable);
    for (settings, source) in [(v3_ipv4(), "10.99.0.1"), (v3_ipv6(), "fe80::1")] {
        let group = group(settings.family);
        cable.enter(End::Right);
        let socket = ReceiveSocket::open(&listen_to(group, on.clone()), Carrier::Plain, 8192).unwrap();
        let mut reader = Reader { socket, batch: ReceiveBatch::default(), clock: Clock::default() };
        cable.enter(End::Left);
        let sender = SendSocket::open(settings.family, Some(&interface("left0"))).unwrap();
        let mut frame = AdvertisementFrame::new(&settings, address(source), group).unwrap();
        (0..200).for_each(|_| sender.send(frame.next_packet()).unwrap());

        // A numbered packet that gets through tells that everything ahead of it was either read or lost.
        let (mut read, mut through) = (0, None);
        for number in 1..20_u8 {
            frame.set_priority(Priority::new(number));
            sender.send(frame.next_packet()).unwrap();
            reader.receive();
            for packet in reader.batch.packets() {
                let view = AdvertisementView::parse(packet.pdu, settings.family, packet.carrier_len).unwrap();
                read += 1;
                if view.priority() != settings.priority {
                    through = Some(u32::from(view.priority().get()));
                }
            }
            if through.is_some() {
                break;
            }
        }
        let sent = 200 + through.expect("one of twenty packets finds room");
        assert!(reader.socket.lost() > 0);
        assert_eq!(reader.socket.lost() + read, sent);
    }
}

#[test]
fn packet_too_long_for_any_advertisement_is_counted_and_left_out() {
    let Some(cable) = Cable::plug() else { return };
    let on = right0(&cable);
    let mut reader = Reader::open(&listen_to(group(Family::V6), on.clone()), Carrier::Plain);
    ip("link set right0 mtu 9000");
    cable.enter(End::Left);
    ip("link set left0 mtu 9000");
    let sender = SendSocket::open(Family::V6, Some(&interface("left0"))).unwrap();
    let mut frame = AdvertisementFrame::new(&v3_ipv6(), address("fe80::1"), group(Family::V6)).unwrap();
    let mut long = frame.next_packet().packet.to_vec();
    long.resize(40 + 5000, 0);
    long[4..6].copy_from_slice(&5000_u16.to_be_bytes());
    let destination = group(Family::V6);
    sender.send(Outgoing { packet: &long, destination }).unwrap();
    sender.send(frame.next_packet()).unwrap();
    reader.receive();
    assert_eq!((reader.batch.packets().len(), reader.socket.unreadable()), (1, 1));
}

#[test]
fn refused_packet_of_a_batch_is_reported_and_the_others_are_sent() {
    let Some(cable) = Cable::plug() else { return };
    let on = right0(&cable);
    let mut reader = Reader::open(&listen_to(group(Family::V4), on), Carrier::Plain);
    cable.enter(End::Left);
    let sender = SendSocket::open(Family::V4, Some(&interface("left0"))).unwrap();
    let mut frame = AdvertisementFrame::new(&v3_ipv4(), address("10.99.0.1"), group(Family::V4)).unwrap();
    let right = frame.next_packet();
    let above_mtu = Outgoing { packet: &[0; 1501], ..right };
    let cut_short = Outgoing { packet: &right.packet[..19], ..right };

    let mut failed = Vec::new();
    sender.send_batch(&[above_mtu, right, cut_short, above_mtu, right], |at, error| {
        failed.push((at, error.source.raw_os_error()));
    });
    let (too_long, invalid) = (Some(nix::libc::EMSGSIZE), Some(nix::libc::EINVAL));
    assert_eq!(failed, [(0, too_long), (2, invalid), (3, too_long)]);
    reader.receive();
    assert_eq!(reader.batch.packets().len(), 2);
}

#[test]
fn unicast_without_a_device_follows_the_routes() {
    let Some(cable) = Cable::plug() else { return };
    cable.enter(End::Right);
    let listen = Listen::Unicast { local: address("10.99.0.2"), interface: None };
    let mut reader = Reader::open(&listen, Carrier::Plain);
    cable.enter(End::Left);
    let sender = SendSocket::open(Family::V4, None).unwrap();
    let mut settings = v3_ipv4();
    settings.transport = unicast("10.99.0.2", 64);
    let to = |peer| AdvertisementFrame::new(&settings, address("10.99.0.1"), address(peer)).unwrap();
    sender.send(to("10.99.0.2").next_packet()).unwrap();
    reader.receive();
    assert_eq!(reader.batch.packets().next().unwrap().hop_limit, 64);
    let error = sender.send(to("192.0.2.1").next_packet()).unwrap_err();
    assert_eq!((error.step, error.source.kind()), (Step::Send, std::io::ErrorKind::NetworkUnreachable));
}

#[test]
fn errors_name_the_step_that_failed() {
    let Some(cable) = Cable::plug() else { return };
    cable.enter(End::Right);
    let missing = Interface { index: 4242, name: "missing0".into() };
    let step = |error: buoy_vrrp::SocketError| error.step;
    let opened = ReceiveSocket::open(&listen_to(group(Family::V4), missing.clone()), Carrier::Plain, BUFFER);
    assert_eq!(step(opened.unwrap_err()), Step::BindToDevice("missing0".into()));
    assert_eq!(
        step(SendSocket::open(Family::V6, Some(&missing)).unwrap_err()),
        Step::BindToDevice("missing0".into())
    );
    let announce = AnnounceSocket::open(Family::V4, &missing).unwrap_err();
    assert_eq!(announce.to_string(), "cannot bind to interface missing0");
    let wrong = listen_to(address("10.0.0.1"), interface("right0"));
    let opened = ReceiveSocket::open(&wrong, Carrier::Plain, BUFFER).unwrap_err();
    assert_eq!(opened.to_string(), "cannot join group 10.0.0.1 on right0");
}

#[test]
fn claims_of_watched_addresses_are_heard_and_no_others() {
    let Some(cable) = Cable::plug() else { return };
    let mac = MacAddr(2, 0, 0, 0, 0, 1);
    let frame = |claimed: &str| match address(claimed) {
        IpAddr::V4(a) => gratuitous_arp(mac, a).to_vec(),
        IpAddr::V6(a) => unsolicited_na(mac, a, Forwarding::Host).to_vec(),
    };
    for (family, watched, other) in [
        (Family::V4, ["10.99.1.1", "10.99.1.2"], "10.99.1.3"),
        (Family::V6, ["fe80::a", "2001:db8::b"], "fe80::c"),
    ] {
        cable.enter(End::Left);
        let mut here = AnnounceSocket::open(family, &interface("left0")).unwrap();
        cable.enter(End::Right);
        let mut there = AnnounceSocket::open(family, &interface("right0")).unwrap();
        here.send(&frame(watched[0])).unwrap();
        assert_eq!(next_claim(&mut there), None, "nothing is watched yet");

        there
            .watch(&[address(watched[0]), address(watched[1]), address("10.0.0.1"), address("::1")])
            .unwrap();
        for claimed in [other, watched[1], other, watched[0]] {
            here.send(&frame(claimed)).unwrap();
        }
        for claimed in [watched[1], watched[0]] {
            assert!(readable(&there));
            assert_eq!(next_claim(&mut there), Some(Claim { address: address(claimed), mac }));
        }
        assert_eq!(next_claim(&mut there), None);
        assert_eq!(next_claim(&mut here), None, "own frames are not heard");
    }
}

fn next_claim(socket: &mut AnnounceSocket) -> Option<Claim> {
    let mut next = None;
    socket.read_claims(1, |claim| next = Some(claim)).unwrap();
    next
}

/// What a socket of this namespace may spend on filters and the like, in bytes. False where the kernel does not let
/// a namespace have a limit of its own.
fn limit_filter_memory(bytes: usize) -> bool {
    std::fs::write("/proc/sys/net/core/optmem_max", bytes.to_string()).is_ok()
}

fn watchable(n: u32) -> Vec<IpAddr> {
    // Words with the highest bit set cost the kernel one instruction more.
    (0..n).map(|n| IpAddr::from((0xc0a8_0000 + n).to_be_bytes())).collect()
}

#[test]
fn five_hundred_watched_addresses_fit_an_older_kernel_and_more_hear_everything() {
    let Some(cable) = Cable::plug() else { return };
    cable.enter(End::Left);
    let mut here = AnnounceSocket::open(Family::V4, &interface("left0")).unwrap();
    cable.enter(End::Right);
    if !limit_filter_memory(20 << 10) {
        eprintln!("the limit of this kernel is another");
    }
    let mut there = AnnounceSocket::open(Family::V4, &interface("right0")).unwrap();
    let mac = MacAddr(2, 0, 0, 0, 0, 9);
    let mut claim = |a: IpAddr| match a {
        IpAddr::V4(a) => here.send(&gratuitous_arp(mac, a)).unwrap(),
        IpAddr::V6(_) => unreachable!(),
    };
    let (addresses, stranger) = (watchable(501), address("198.51.100.1"));
    // Twice: the second filter has to fit beside the first.
    for _ in 0..2 {
        there.watch(&addresses[..500]).unwrap();
    }
    for a in [stranger, addresses[500]] {
        claim(a);
    }
    assert_eq!(next_claim(&mut there), None);
    for at in [0, 1, 253, 254, 255, 256, 499] {
        claim(addresses[at]);
        assert!(readable(&there), "address {at}");
        assert_eq!(next_claim(&mut there).unwrap().address, addresses[at]);
    }
    there.watch(&addresses).unwrap();
    claim(stranger);
    assert!(readable(&there));
    assert_eq!(next_claim(&mut there).unwrap().address, stranger);
}

#[test]
fn everything_is_heard_when_the_kernel_has_no_memory_for_the_filter() {
    let Some(cable) = Cable::plug() else { return };
    cable.enter(End::Left);
    let mut here = AnnounceSocket::open(Family::V4, &interface("left0")).unwrap();
    cable.enter(End::Right);
    if !limit_filter_memory(2 << 10) {
        eprintln!("skipped: this kernel has one limit for all namespaces");
        return;
    }
    let mut there = AnnounceSocket::open(Family::V4, &interface("right0")).unwrap();
    there.watch(&watchable(400)).unwrap();
    here.send(&gratuitous_arp(MacAddr(2, 0, 0, 0, 0, 9), "198.51.100.1".parse().unwrap())).unwrap();
    assert!(readable(&there));
    assert_eq!(next_claim(&mut there).unwrap().address, address("198.51.100.1"));
}
