//! Records what a master sends, for `tests/golden/sync.txt`.

use std::time::Duration;

use buoy_ipvs::sync::Version;
use buoy_ipvs::{Plane, SyncDaemon, SyncRole};

use super::ID;
use super::network::{Client, Network, sysctl};
use crate::bench::{empty_plane, ipvsadm};
use crate::machine::inside;

const SERVICE: &str = "10.70.1.1";
const SERVICE_6: &str = "[fd70:1::1]";
const SERVER: &str = "10.70.0.2";
const SERVER_6: &str = "[fd70::2]";

/// Some connections under a master daemon.
struct Scene {
    version: Version,
    max_len: Option<u16>,
    /// Arguments of ipvsadm.
    service: String,
    server: String,
    what: &'static str,
    play: fn(&Network),
}

impl Scene {
    fn new(
        version: Version,
        service: String,
        server: String,
        what: &'static str,
        play: fn(&Network),
    ) -> Self {
        Self { version, max_len: None, service, server, what, play }
    }
}

fn scenes() -> Vec<Scene> {
    use Version::{V0, V1};
    let mut scenes = Vec::new();
    for version in [V1, V0] {
        let mut add = |service: &str, server: &str, what, play| {
            scenes.push(Scene::new(version, service.to_owned(), server.to_owned(), what, play));
        };
        let tcp = format!("-t {SERVICE}:80");
        add(&format!("{tcp} -s rr"), &format!("{SERVER}:80 -m"), "closed by the client", |network| {
            network.tcp(Client::of("10.70.1.1:80"));
        });
        let udp = format!("-u {SERVICE}:53");
        add(&format!("{udp} -s rr"), &format!("{SERVER}:53 -m"), "three datagrams", |network| {
            network.udp(Client::of("10.70.1.1:53"), b"?", 3);
        });
        let persistent = format!("{tcp} -s rr -p 300 -M 255.255.255.0");
        add(&persistent, &format!("{SERVER}:80 -m"), "left open", |network| {
            network.open_tcp(Client::of("10.70.1.1:80"));
        });
        add("-f 7 -s rr -p 200", &format!("{SERVER}:0 -m"), "mark 7, left open", |network| {
            network.open_tcp(Client::of("10.70.1.1:80").marked(7));
        });
    }
    let mut add = |service: String, server: String, what, play| {
        scenes.push(Scene::new(V1, service, server, what, play));
    };
    let tcp = format!("-t {SERVICE_6}:80");
    add(format!("{tcp} -s rr"), format!("{SERVER_6}:80 -m"), "closed by the client", |network| {
        network.tcp(Client::of("[fd70:1::1]:80"));
    });
    add(format!("-u {SERVICE_6}:53 -s rr"), format!("{SERVER_6}:53 -m"), "three datagrams", |network| {
        network.udp(Client::of("[fd70:1::1]:53"), b"?", 3);
    });
    let persistent = format!("{tcp} -s rr -p 300 -M 64");
    add(persistent, format!("{SERVER_6}:80 -m"), "left open", |network| {
        network.open_tcp(Client::of("[fd70:1::1]:80"));
    });
    add("-f 7 -6 -s rr -p 200".into(), format!("{SERVER_6}:0 -m"), "mark 7, left open", |network| {
        network.open_tcp(Client::of("[fd70:1::1]:80").marked(7));
    });
    add(
        format!("-u {SERVICE}:5060 -s rr -p 360 --pe sip -o"),
        format!("{SERVER}:5060 -m"),
        "a call, and one with another length",
        |network| {
            for call in ["abc123@host", "abc123@host1"] {
                let message = format!("OPTIONS sip:a SIP/2.0\r\nCall-ID: {call}\r\n\r\n");
                network.udp(Client::of("10.70.1.1:5060"), message.as_bytes(), 1);
            }
        },
    );
    let direct = format!("{SERVER}:80 -g");
    add(format!("-t {SERVICE}:80 -s rr -p 300"), direct, "closed by the client", |network| {
        network.tcp(Client::of("10.70.1.1:80"));
    });
    let short = format!("-t {SERVICE}:81 -s rr -p 300");
    scenes.push(Scene {
        max_len: Some(1),
        ..Scene::new(V1, short, format!("{SERVER}:80 -m"), "left open, --sync-maxlen 1", |network| {
            network.open_tcp(Client::of("10.70.1.1:81"));
        })
    });
    scenes
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn record() {
    if !inside() {
        return;
    }
    // IPVS first, as it brings IPv6.
    let mut plane = empty_plane();
    let network = Network::new();
    for scene in scenes() {
        let version = match scene.version {
            Version::V0 => "0",
            Version::V1 => "1",
        };
        println!("# v{version} ipvsadm -A {}; -a -r {}: {}", scene.service, scene.server, scene.what);
        sysctl("sync_version", version);
        ipvsadm(&format!("-A {}", scene.service));
        let (id, _) = scene.service.split_once(" -s ").unwrap();
        ipvsadm(&format!("-a {id} -r {}", scene.server));
        let master =
            SyncDaemon { max_len: scene.max_len, ..SyncDaemon::new(SyncRole::Master, Network::LINK, ID) };
        plane.start_sync(&master).unwrap();
        (scene.play)(&network);
        for datagram in network.datagrams(Duration::from_millis(3_500)) {
            let hex: String = datagram.iter().map(|byte| format!("{byte:02x}")).collect();
            println!("< {hex}");
        }
        plane.stop_sync(SyncRole::Master).unwrap();
        plane.flush().unwrap();
    }
}
