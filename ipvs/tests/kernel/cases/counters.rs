//! Counters follow real traffic.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use buoy_ipvs::{
    Change, Counters, Forwarding, KernelPlane, Plane, Protocol, RealServer, RealServerId, ServiceId,
};
use buoy_ipvs::{VirtualService, Weight};

use crate::bench::{address, empty_plane, id, ipvsadm, persistent, run, service};
use crate::machine::inside;

const CONNECTIONS: u64 = 10;

/// The kernel shows counters as they were up to two seconds ago.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
#[ignore = "runs in a kernel of its own"]
fn connections_and_packets_are_counted_and_zeroed() {
    if !inside() {
        return;
    }
    let mut plane = empty_plane();
    run("ip", "address replace 10.0.0.1/32 dev lo");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let real = RealServerId { address: address("127.0.0.1"), port: listener.local_addr().unwrap().port() };
    let id = id(Protocol::Tcp, "10.0.0.1", 80);
    let other = ServiceId::Address { protocol: Protocol::Tcp, address: address("10.0.0.1"), port: 81 };
    let adding = [
        Change::AddService(VirtualService { persistence: Some(persistent(50, 32)), ..service(id) }),
        Change::AddServer(id, RealServer::new(real, Forwarding::Masquerade, Weight::ONE)),
        Change::AddService(service(other)),
    ];
    assert_eq!(plane.apply(&adding).unwrap(), []);
    plane.zero(None).unwrap();

    let answering = thread::spawn(move || {
        for _ in 0..CONNECTIONS {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 4];
            stream.read_exact(&mut question).unwrap();
            stream.write_all(&question).unwrap();
        }
    });
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect("10.0.0.1:80").unwrap();
        stream.write_all(b"ping").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "ping");
    }
    answering.join().unwrap();

    let counters = settled(&mut plane, id, real, |counters| counters.connections == CONNECTIONS);
    assert!(counters.packets_in >= 4 * CONNECTIONS, "{counters:?}");
    assert!(counters.bytes_in >= 40 * counters.packets_in, "{counters:?}");
    assert!(u64::from(counters.active + counters.inactive) >= CONNECTIONS, "{counters:?}");
    assert_eq!(counters.persistent, 1);
    let of_service = plane.statistics().unwrap().services[&id];
    let expected = Counters { active: 0, inactive: 0, persistent: 0, ..counters };
    assert_eq!((of_service.connections, of_service.bytes_in), (expected.connections, expected.bytes_in));
    assert_eq!(plane.statistics().unwrap().services[&other], Counters::default());
    let shown = ipvsadm("-Ln --stats --exact");
    let of_ipvsadm: Vec<_> =
        shown.lines().find(|line| line.contains("10.0.0.1:80")).unwrap().split_whitespace().collect();
    let counted =
        [of_service.connections, of_service.packets_in, of_service.packets_out, of_service.bytes_in];
    assert_eq!(of_ipvsadm[2..6], counted.map(|count| count.to_string()), "{shown}");

    plane.zero(Some(&id)).unwrap();
    settled(&mut plane, id, real, |counters| counters.connections == 0 && counters.packets_in == 0);
    let nobody = ServiceId::Address { protocol: Protocol::Tcp, address: address("10.0.0.1"), port: 9 };
    let refused = plane.zero(Some(&nobody)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cannot zero the counters of TCP 10.0.0.1:9: there is no such virtual service"
    );
    run("ip", "address delete 10.0.0.1/32 dev lo");
}

fn settled(
    plane: &mut KernelPlane,
    service: ServiceId,
    server: RealServerId,
    wanted: impl Fn(&Counters) -> bool,
) -> Counters {
    let begin = Instant::now();
    loop {
        let counters = plane.statistics().unwrap().servers[&(service, server)];
        if wanted(&counters) {
            return counters;
        }
        assert!(begin.elapsed() < PATIENCE, "{counters:?}");
        thread::sleep(Duration::from_millis(100));
    }
}
