use std::fs::File;
use std::future::Future;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use tokio::runtime::{Builder, Runtime};

use super::process::Process;

/// A host of the laboratory: a network namespace and the thread that lives in it.
///
/// Clones are the same host. The namespace, its interfaces and the processes started in it are gone once
/// the last clone is (every [`Process`] keeps one).
#[derive(Clone, Debug)]
pub struct Host {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    /// Work for the host's thread. Callers wait for their result, so one slot is enough; a second caller
    /// waits for the first.
    jobs: mpsc::SyncSender<Job>,
    namespace: File,
}

type Job = Box<dyn FnOnce(&Inside) + Send>;

/// What the host's thread owns.
struct Inside {
    runtime: Runtime,
    netlink: rtnetlink::Handle,
}

impl Host {
    /// Makes a host that has only a loopback interface, which is up. IPv6 addresses of interfaces plugged in
    /// later are usable at once (no duplicate address detection), see [`Host::sysctl`] to have it back.
    ///
    /// # Errors
    /// When the kernel refuses a new network namespace: the caller is neither root nor in a user namespace
    /// of its own ([`super::become_root_in_user_namespace`]).
    pub fn new(name: &str) -> Result<Self> {
        let (jobs, inbox) = mpsc::sync_channel::<Job>(1);
        let (ready, made) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || match Inside::new() {
                Ok((inside, namespace)) => {
                    // The maker may have given up; then `inbox` is closed as well and the loop ends.
                    ready.send(Ok(namespace)).ok();
                    for job in inbox {
                        job(&inside);
                    }
                }
                Err(error) => drop(ready.send(Err(error))),
            })
            .context("starting the thread of a lab host")?;
        let namespace = made.recv().context("the thread of a lab host ended early")??;
        let host = Self { inner: Arc::new(Inner { name: name.to_owned(), jobs, namespace }) };
        host.sysctl("net/ipv6/conf/default/accept_dad", "0").ok();
        host.set_up("lo")?;
        Ok(host)
    }

    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Runs `work` on the host's thread and returns its result. A socket opened there belongs to the host for
    /// good, so it may be moved to another thread afterwards. A panic of `work` goes on in the caller.
    ///
    /// Jobs run one at a time: `work` must not wait for another job of the same host.
    pub fn run<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> R {
        self.submit(move |_| work())
    }

    /// Runs a request over the host's own rtnetlink socket.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn netlink<R, F>(&self, request: impl FnOnce(rtnetlink::Handle) -> F + Send + 'static) -> Result<R>
    where
        R: Send + 'static,
        F: Future<Output = Result<R, rtnetlink::Error>>,
    {
        self.submit(move |inside| inside.runtime.block_on(request(inside.netlink.clone())))
            .with_context(|| format!("netlink request on {}", self.name()))
    }

    /// Writes a sysctl of the host, such as `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// When there is no such sysctl or it refuses the value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{key}");
        let value = value.to_owned();
        // The kernel resolves /proc/sys/net through the namespace of the thread that opens it.
        self.run({
            let path = path.clone();
            move || std::fs::write(path, value)
        })
        .with_context(|| format!("writing {path} on {}", self.name()))
    }

    /// Starts a program on the host; its output is collected, its input empty. It is killed with its
    /// descendants when the [`Process`] is dropped.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&self, command: Command) -> Result<Process> {
        Process::start(self.clone(), command)
    }

    pub(super) fn namespace(&self) -> BorrowedFd<'_> {
        self.inner.namespace.as_fd()
    }

    fn submit<R: Send + 'static>(&self, work: impl FnOnce(&Inside) -> R + Send + 'static) -> R {
        let (answer, result) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |inside| {
            answer.send(catch_unwind(AssertUnwindSafe(|| work(inside)))).ok();
        });
        self.inner.jobs.send(job).expect("the thread of a host lives as long as the host");
        match result.recv().expect("a job always answers") {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    }
}

impl Inside {
    fn new() -> Result<(Self, File)> {
        unshare(CloneFlags::CLONE_NEWNET)
            .context("making a network namespace (root or a user namespace is needed)")?;
        let namespace = File::open("/proc/thread-self/ns/net").context("opening the new namespace")?;
        let runtime = Builder::new_current_thread().enable_io().build().context("runtime of a lab host")?;
        let netlink = {
            let _context = runtime.enter();
            let (connection, handle, _) = rtnetlink::new_connection().context("opening rtnetlink")?;
            runtime.spawn(connection);
            handle
        };
        Ok((Self { runtime, netlink }, namespace))
    }
}

impl AsRawFd for Host {
    /// The network namespace, as rtnetlink wants it.
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.namespace().as_raw_fd()
    }
}
