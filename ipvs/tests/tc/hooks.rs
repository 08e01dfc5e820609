//! Programs come and go, and maps stay.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use buoy_ipvs::io::bpf::{
    Assembler, AttachError, Attachment, Hook, LoadError, Map, MapError, MapKind, Program, Register, Size,
};
use buoy_ipvs::io::flow::{Flow, FlowMap};
use buoy_ipvs::io::tap::{Frames, Tap};
use buoy_ipvs::io::tc::{Maps, Programs};
use buoy_ipvs::io::virtio::Header;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::bench::{CAPACITIES, Director, TO_SERVER, catcher};
use crate::host::{Host, may_run};
use crate::packet::udp;

const CLIENT: &str = "198.51.100.7:40000";
const SERVICE: &str = "192.0.2.1:80";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Two wires; what comes in by one may be redirected to the other.
struct Wires {
    host: Host,
    one: Tap,
    other: Tap,
}

impl Wires {
    fn new() -> Self {
        let host = Host::new();
        host.sysctl("net/ipv6/conf/all/disable_ipv6", "1");
        let [one, other] = ["one", "other"].map(|name| host.run(|| Tap::create(name)).unwrap());
        Self { host, one, other }
    }

    fn attach(&self, hook: Hook, program: &Program) -> Attachment {
        self.host.run(|| Attachment::by(hook, program, self.one.index())).unwrap()
    }

    /// How many frames come out when one comes in.
    fn play(&self) -> usize {
        play(&self.one, &self.other)
    }

    /// Waits until nothing comes out. A process that another test starts has a copy of all descriptors of this one until
    /// it is the program that it is to be.
    fn expect_nothing_soon(&self) {
        let since = Instant::now();
        while self.play() > 0 {
            assert!(since.elapsed() < PATIENCE, "still attached");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn filters(&self) -> String {
        self.host.command("tc", "filter show dev one ingress")
    }

    fn disciplines(&self) -> String {
        self.host.command("tc", "qdisc show dev one")
    }
}

fn play(from: &Tap, to: &Tap) -> usize {
    from.send(&Header::default(), &udp(CLIENT, SERVICE).frame()).unwrap();
    let mut frames = Frames::new(4);
    to.receive(&mut frames).unwrap();
    frames.iter().len()
}

/// Passes everything.
fn idle() -> Program {
    let mut program = Assembler::default();
    program.set(Register::R0, -1).exit();
    Program::load("idle", &program.assemble(&[]).unwrap()).unwrap()
}

#[test]
fn a_program_is_gone_with_its_attachment() {
    if !may_run() {
        return;
    }
    let wires = Wires::new();
    let (catcher, idle) = (catcher(wires.other.index()), idle());
    assert_eq!(wires.play(), 0);
    for hook in [Hook::Tcx, Hook::Clsact] {
        let mut attachment = wires.attach(hook, &catcher);
        assert_eq!((attachment.hook(), attachment.interface()), (hook, wires.one.index()));
        assert_eq!(wires.play(), 1, "{hook:?}");
        attachment.replace(&idle).unwrap();
        assert_eq!(wires.play(), 0, "{hook:?}");
        attachment.replace(&catcher).unwrap();
        assert_eq!(wires.play(), 1, "{hook:?}");
        drop(attachment);
        wires.expect_nothing_soon();
    }
    assert_eq!(wires.filters(), "");
    assert!(!wires.disciplines().contains("clsact"), "{}", wires.disciplines());
}

#[test]
fn filters_of_others_stay() {
    if !may_run() {
        return;
    }
    let wires = Wires::new();
    let add = "filter add dev one egress protocol all prio 7 u32 match u32 0 0";
    // Whether the discipline was there before us or not.
    let attachment = wires.attach(Hook::Clsact, &idle());
    wires.host.command("tc", add);
    drop(attachment);
    assert!(wires.disciplines().contains("clsact"));
    assert_eq!(wires.filters(), "");
    assert!(wires.host.command("tc", "filter show dev one egress").contains("u32"));
    drop(wires.attach(Hook::Clsact, &idle()));
    assert!(wires.host.command("tc", "filter show dev one egress").contains("u32"));
}

#[test]
fn a_filter_that_was_left_behind_is_taken_over() {
    if !may_run() {
        return;
    }
    let wires = Wires::new();
    // As if its owner had been killed.
    std::mem::forget(wires.attach(Hook::Clsact, &idle()));
    assert_eq!(wires.play(), 0);
    let attachment = wires.attach(Hook::Clsact, &catcher(wires.other.index()));
    assert_eq!(wires.play(), 1);
    assert_eq!(wires.filters().matches("buoy").count(), 1, "{}", wires.filters());
    drop(attachment);
    assert_eq!(wires.filters(), "");
}

#[test]
fn flows_are_forwarded_by_filters_too() {
    if !may_run() {
        return;
    }
    let director = Director::new();
    let [client, server] = ["client", "server"].map(|name| director.host.run(|| Tap::create(name)).unwrap());
    director.next_hop(TO_SERVER, server.index(), [2, 1, 0, 0, 0, 5]);
    director.masquerade(&udp(CLIENT, SERVICE).key(), &udp(CLIENT, "10.0.0.5:8080").key());
    let attach = || Attachment::by(Hook::Clsact, director.programs.interface(), client.index());
    let attachment = director.host.run(attach).unwrap();
    assert_eq!(play(&client, &server), 1);
    director.host.run(|| drop(attachment));
    assert_eq!(play(&client, &server), 0);
}

#[test]
fn there_is_no_attachment_to_an_interface_that_is_not() {
    if !may_run() {
        return;
    }
    let host = Host::new();
    let program = idle();
    for (hook, interface) in [(Hook::Tcx, 4711), (Hook::Clsact, 4711), (Hook::Clsact, u32::MAX)] {
        let outcome = host.run(|| Attachment::by(hook, &program, interface));
        let Err(AttachError::Attach { source, .. }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(source.raw_os_error(), Some(nix::libc::ENODEV), "{hook:?} {interface}");
    }
}

#[test]
fn the_verifier_says_why_not() {
    if !may_run() {
        return;
    }
    let mut program = Assembler::default();
    program.load(Size::Word, Register::R0, Register::R1, 4000).exit();
    match Program::load("bad", &program.assemble(&[]).unwrap()) {
        Err(LoadError::Rejected { name: "bad", log, .. }) => assert!(log.contains("off=4000"), "{log}"),
        outcome => panic!("{outcome:?}"),
    }
}

/// Runs `work` with a file system for pins that nobody else sees. It is gone with the thread of `host.run`.
fn with_pins<R: Send>(host: &Host, work: impl FnOnce(&Path) -> R + Send) -> R {
    host.run(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("bpf"), folder, Some("bpf"), MsFlags::empty(), none).unwrap();
        work(folder)
    })
}

#[test]
fn pinned_maps_and_attachments_outlive_their_owner() {
    if !may_run() {
        return;
    }
    let wires = Wires::new();
    let engine = wires.host.run(|| Tap::create("engine")).unwrap();
    let key = udp(CLIENT, SERVICE).key();
    with_pins(&wires.host, |folder| {
        let link = folder.join("one");
        {
            let maps = Maps::create(CAPACITIES).unwrap();
            let programs = Programs::load(&maps, engine.index()).unwrap();
            let next_hop = buoy_ipvs::io::next_hop::NextHop {
                interface: wires.other.index(),
                destination: [2, 1, 0, 0, 0, 5],
                source: [2, 8, 0, 0, 0, 1],
                mtu: 1500,
            };
            maps.next_hops.set(TO_SERVER, Some(&next_hop)).unwrap();
            maps.flows.set(&key, &Flow::direct(&key, TO_SERVER)).unwrap();
            let attachment = programs.attach(wires.one.index()).unwrap();
            maps.pin(folder).unwrap();
            attachment.pin(&link).unwrap();
            assert!(matches!(maps.pin(folder), Err(MapError::Pin { .. })));
        }
        assert_eq!(wires.play(), 1);

        let maps = Maps::open(folder).unwrap();
        assert_eq!(maps.flows.get(&key).unwrap().unwrap().counted.packets, 1);
        assert_eq!(maps.next_hops.get(TO_SERVER).unwrap().unwrap().mtu, 1500);
        let mut attachment = Attachment::open(&link).unwrap();
        assert_eq!(attachment.interface(), wires.one.index());
        let programs = Programs::load(&maps, engine.index()).unwrap();
        attachment.replace(programs.interface()).unwrap();
        assert_eq!(wires.play(), 1);
        assert_eq!(maps.flows.get(&key).unwrap().unwrap().counted.packets, 2);

        assert!(matches!(
            Attachment::open(&folder.join("flows")),
            Err(AttachError::Open { .. } | AttachError::Different { .. })
        ));
        let other_layout = Map::<8, 8>::open(&folder.join("flows"), MapKind::Hash);
        assert!(matches!(other_layout, Err(MapError::Different { .. })), "{other_layout:?}");

        fs::remove_file(&link).unwrap();
        assert_eq!(wires.play(), 1);
        drop(attachment);
        wires.expect_nothing_soon();
    });
}

#[test]
fn selectors_are_known_again() {
    use buoy_ipvs::io::selector::{Selector, Selectors};
    if !may_run() {
        return;
    }
    let host = Host::new();
    with_pins(&host, |folder| {
        let mut selectors = Selectors::create(600).unwrap();
        let marks: Vec<_> = (1..=600).map(Selector::Mark).collect();
        for mark in &marks {
            selectors.insert(*mark).unwrap();
        }
        assert!(selectors.insert(Selector::Mark(601)).is_err());
        selectors.pin(folder).unwrap();
        drop(selectors);
        let selectors = Selectors::open(folder).unwrap();
        assert!(selectors.iter().eq(&marks));
    });
}

#[test]
fn batches_write_read_and_remove_many() {
    if !may_run() {
        return;
    }
    let flows = FlowMap::create(1000).unwrap();
    let keys: Vec<_> = (1..=1200).map(|port| udp(&format!("198.51.100.7:{port}"), SERVICE).key()).collect();
    let of = |keys: &[_]| -> Vec<_> { keys.iter().map(|key| (*key, Flow::direct(key, TO_SERVER))).collect() };
    let (first, rest) = (of(&keys[..700]), of(&keys[700..]));
    flows.set_all([]).unwrap();
    flows.set_all(first.iter().map(|(key, flow)| (key, flow))).unwrap();
    match flows.set_all(rest.iter().map(|(key, flow)| (key, flow))) {
        Err(MapError::Partial { done: 300, of: 500, .. }) => {}
        outcome => panic!("{outcome:?}"),
    }
    for room in [1, 7, 10_000] {
        let mut found = Vec::new();
        let mut walk = flows.walk(room);
        while let Some(batch) = walk.next_batch().unwrap() {
            found.extend(batch);
        }
        found.sort_by_key(|(key, _)| *key);
        let expected = of(&keys[..1000]);
        assert!(found == expected, "{room}: {} flows", found.len());
    }
    assert_eq!(flows.remove_all(keys[900..].iter().chain(&keys[..10])).unwrap(), 110);
    assert_eq!(flows.remove_all([]).unwrap(), 0);
    assert!(flows.get(&keys[950]).unwrap().is_none());
    assert!(flows.take(&keys[950]).unwrap().is_none());
    assert!(flows.get(&keys[500]).unwrap().is_some());
}
