//! Two directors, of which one has the addresses and tells the other of its connections.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use buoy_ipvs::io::director::Setup;
use buoy_ipvs::io::support::Tier;
use buoy_ipvs::{
    Change, EnginePlane, Forwarding, Plane, Protocol, Scheduler, SyncDaemon, SyncRole, VirtualService,
};

use crate::host::{Host, may_run};
use crate::lan::{PATIENCE, PORT, SERVERS, VIPS, echo_on, ip, server, service, wait_until};

/// What whoever is master has, on its interfaces to clients and to servers.
const LEFT: [&str; 2] = ["10.1.0.254/24", "10.9.0.1/32"];
const RIGHT: &str = "10.2.0.254/24";
const CONNECTIONS: usize = 1000;

struct Pair {
    client: Host,
    servers: [Host; 2],
    directors: [Host; 2],
    _switch: Host,
}

impl Pair {
    fn new() -> Self {
        let switch = Host::new();
        for bridge in ["left", "right"] {
            switch.ip(&format!("link add {bridge} type bridge"));
            switch.ip(&format!("link set {bridge} up"));
        }
        let mut ports = 0;
        let mut plug = |host: &Host, bridge: &str, name: &str| {
            ports += 1;
            let path = host.path();
            switch.ip(&format!("link add p{ports} type veth peer name {name} netns {path}"));
            switch.ip(&format!("link set p{ports} master {bridge} up"));
            host.ip(&format!("link set {name} up"));
            host.wait_for(name);
        };
        let (client, servers, directors) =
            (Host::new(), [Host::new(), Host::new()], [Host::new(), Host::new()]);
        plug(&client, "left", "eth0");
        client.add_address(ip("10.1.0.7"), "eth0");
        client.ip("route add default via 10.1.0.254 dev eth0");
        for (host, [address, _]) in servers.iter().zip(SERVERS) {
            plug(host, "right", "eth0");
            host.add_address(ip(address), "eth0");
            host.ip("route add default via 10.2.0.254 dev eth0");
        }
        for (number, director) in directors.iter().enumerate() {
            plug(director, "left", "left");
            plug(director, "right", "right");
            director.add_address(ip(&format!("10.2.0.{}", number + 1)), "right");
        }
        Self { client, servers, directors, _switch: switch }
    }

    /// The director gets the addresses, and everybody looks for them anew.
    fn promote(&self, number: usize) {
        let director = &self.directors[number];
        LEFT.iter().for_each(|address| drop(director.ip(&format!("address add {address} dev left"))));
        director.ip(&format!("address add {RIGHT} dev right"));
        [&self.client, &self.servers[0], &self.servers[1]]
            .into_iter()
            .for_each(|host| drop(host.ip("neighbor flush all")));
    }

    fn demote(&self, number: usize) {
        let director = &self.directors[number];
        LEFT.iter().for_each(|address| drop(director.ip(&format!("address del {address} dev left"))));
        director.ip(&format!("address del {RIGHT} dev right"));
    }

    fn start(&self, number: usize, tier: Tier, role: SyncRole) -> EnginePlane {
        let setup = Setup { tier: Some(tier), connections: 10_000, offloaded: 4000, ..Setup::default() };
        let mut plane = self.directors[number].run(|| EnginePlane::open(setup)).expect("the engine starts");
        let id = service(Protocol::Tcp, 0);
        let mut changes = vec![Change::AddService(VirtualService::new(id, Scheduler::Rr))];
        changes.extend([1, 0].map(|number| Change::AddServer(id, server(number, 0, Forwarding::Masquerade))));
        assert_eq!(plane.apply(&changes).expect("it answers"), []);
        plane.start_sync(&SyncDaemon::new(role, "right", 7)).expect("it starts");
        plane
    }
}

/// Says something and hears it again.
fn exchange(stream: &mut TcpStream, word: u32) {
    let (said, mut heard) = (word.to_be_bytes(), [0; 4]);
    stream.write_all(&said).expect("said");
    stream.read_exact(&mut heard).expect("heard");
    assert_eq!(said, heard);
}

fn a_killed_master_resets_nobody(tier: Tier) {
    let pair = Pair::new();
    for (number, host) in pair.servers.iter().enumerate() {
        echo_on(host, SocketAddr::new(ip(SERVERS[number][0]), PORT), number);
    }
    pair.promote(0);
    let backup = pair.start(1, tier, SyncRole::Backup);
    let master = pair.start(0, tier, SyncRole::Master);
    let vip = SocketAddr::new(ip(VIPS[0]), PORT);
    let mut streams: Vec<TcpStream> = pair.client.run(|| {
        let connect = |_| {
            let mut stream = TcpStream::connect_timeout(&vip, PATIENCE).expect("connected");
            stream.set_read_timeout(Some(PATIENCE)).expect("it is possible");
            stream.read_exact(&mut [0]).expect("the server's number");
            (0..5).for_each(|word| exchange(&mut stream, word));
            stream
        };
        (0..CONNECTIONS).map(connect).collect()
    });
    wait_until("the backup knows all connections", || {
        backup.connections().expect("it answers").len() >= CONNECTIONS
    });
    drop(master);
    pair.demote(0);
    pair.promote(1);
    for round in 0..3 {
        for (number, stream) in streams.iter_mut().enumerate() {
            exchange(stream, u32::try_from(number * 10 + round).expect("a few"));
        }
    }
    let counts = backup.connections().expect("it answers");
    assert_eq!(counts.len(), CONNECTIONS, "nobody connected anew");
}

#[test]
fn a_killed_master_resets_nobody_by_tc() {
    if may_run() {
        a_killed_master_resets_nobody(Tier::Tc);
    }
}

#[test]
fn a_killed_master_resets_nobody_by_the_portable_tier() {
    if may_run() {
        a_killed_master_resets_nobody(Tier::Portable);
    }
}
