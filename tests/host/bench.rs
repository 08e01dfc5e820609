//! A network namespace with a host in it.

use std::cell::RefCell;
use std::collections::HashSet;
use std::net::IpAddr;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use buoy::host::desired::Address;
use buoy::host::{Flow, Host, HostEvent, HostHandle, HostOptions, Items, Links, Outlet};
use buoy_vrrp::Family;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use tokio::runtime::Runtime;

/// Longer than anything here takes; only a failure waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) events: Vec<HostEvent>,
    pub(crate) announced: Vec<Arc<str>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Rc<RefCell<Seen>>);

impl Outlet for Recorder {
    fn event(&mut self, event: HostEvent) {
        self.0.borrow_mut().events.push(event);
    }

    fn announce(&mut self, router: &Arc<str>, addresses: &[&Address], links: &Links) {
        for address in addresses {
            let link = links.by_name(&address.dev).expect("announced on an interface that exists");
            let there = links.address(link.index, address.ip, address.prefix_len).is_some();
            assert!(there, "{} is announced before it is there", address.ip);
        }
        self.0.borrow_mut().announced.push(router.clone());
    }
}

pub(crate) struct Bench {
    runtime: Runtime,
    pub(crate) host: Host<Recorder>,
    pub(crate) handle: HostHandle,
    seen: Recorder,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(&HostOptions::default())
    }

    pub(crate) fn with(options: &HostOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let seen = Recorder::default();
        let entered = runtime.enter();
        let handle = HostHandle::new();
        let host = Host::open(seen.clone(), options, &handle).unwrap();
        drop(entered);
        Self { runtime, host, handle, seen }
    }

    /// As if the host thread had panicked and were started again.
    pub(crate) fn restart(&mut self) {
        let entered = self.runtime.enter();
        self.host = Host::open(self.seen.clone(), &HostOptions::default(), &self.handle).unwrap();
        drop(entered);
    }

    pub(crate) fn step(&mut self) -> Flow {
        self.host.step().unwrap()
    }

    /// Steps until `done` holds, woken by the kernel only.
    pub(crate) fn step_until(&mut self, mut done: impl FnMut(&Links, &[HostEvent]) -> bool) {
        loop {
            self.step();
            if done(self.host.links(), &self.seen.0.borrow().events) {
                return;
            }
            let (runtime, host) = (&self.runtime, &mut self.host);
            runtime
                .block_on(async { tokio::time::timeout(PATIENCE, host.ready()).await })
                .expect("the awaited change did not come")
                .unwrap();
        }
    }

    /// Ends like a process that is killed: nothing is removed, and the kernel closes its sockets.
    pub(crate) fn kill(self) {
        drop(self);
        // A command that another test starts at this moment has the sockets too until it is under way.
        let begin = Instant::now();
        let open = || std::fs::read_to_string("/proc/thread-self/net/unix").unwrap().contains("@buoy-host/");
        while open() {
            assert!(begin.elapsed() < PATIENCE, "somebody keeps the sockets of a host that is gone");
            std::thread::yield_now();
        }
    }

    pub(crate) fn stop(&mut self) {
        self.handle.stop();
        assert_eq!(self.step(), Flow::Stopped);
    }

    pub(crate) fn events(&self) -> Vec<HostEvent> {
        std::mem::take(&mut self.seen.0.borrow_mut().events)
    }

    pub(crate) fn announced(&self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.seen.0.borrow_mut().announced)
    }

    /// Change requests sent by the next step.
    pub(crate) fn changes_of_step(&mut self) -> u64 {
        let before = self.handle.changes_sent();
        self.step();
        self.handle.changes_sent() - before
    }

    pub(crate) fn install(&mut self, router: &str, items: Items, lease: Option<Duration>) {
        self.handle.install(&router.into(), Arc::new(items), lease);
        self.step();
    }

    pub(crate) fn losses(&self) -> Vec<String> {
        let lost = |event| match event {
            HostEvent::ItemLost { item, .. } => Some(item.to_string()),
            _ => None,
        };
        self.events().into_iter().filter_map(lost).collect()
    }
}

/// Runs `test` on a thread in a network namespace of its own, with `uplink` and `second` (ends of veth pairs)
/// up. The namespace dies with the thread.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    if !geteuid().is_root() {
        println!("skipped: network namespaces need root");
        return;
    }
    let work = move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        pair("uplink");
        pair("second");
        // The kernel makes up link-local addresses in its own time.
        let none = HashSet::new();
        let mut bench = Bench::new();
        bench.step_until(|links, _| {
            ["uplink", "uplink-far", "second", "second-far"]
                .iter()
                .all(|name| links.carries(name) && links.usable_source(name, Family::V6, &none).is_some())
        });
        bench.kill();
        test();
    };
    let outcome = std::thread::Builder::new().spawn(work).unwrap().join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

pub(crate) fn pair(name: &str) {
    ip(&format!("link add {name} type veth peer name {name}-far"));
    // Without duplicate address detection the links are ready at once.
    for end in [name.to_owned(), format!("{name}-far")] {
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{end}/accept_dad"), "0").unwrap();
        ip(&format!("link set {end} up"));
    }
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(output.stderr));
    text(output.stdout)
}

pub(crate) fn ip(arguments: &str) -> String {
    run("ip", &arguments.split_whitespace().collect::<Vec<_>>())
}

pub(crate) fn sysctl(path: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/net/{path}")).unwrap().trim().to_owned()
}

pub(crate) fn address(text: &str, dev: &str) -> Address {
    let (ip, len) = text.split_once('/').unwrap();
    let ip: IpAddr = ip.parse().unwrap();
    Address::plain(ip, len.parse().unwrap(), dev.into())
}

pub(crate) fn addresses(all: impl IntoIterator<Item = Address>) -> Items {
    Items { addresses: all.into_iter().collect(), ..Items::default() }
}

pub(crate) fn has(dev: &str, text: &str) -> bool {
    ip(&format!("addr show dev {dev}")).split_whitespace().any(|word| word == text)
}
