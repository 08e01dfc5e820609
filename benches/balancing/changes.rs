//! The messages that Buoy sends to the kernel, and how soon: its reconciler on the kernel's plane, without the daemon
//! around it, so that each change can be counted and timed where it is made.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use buoy::config::{self, LoadOptions};
use buoy::control::driver::{Call, Driver, Farewell, Handle, Notice, Settings, orders};
use buoy::control::{Administration, Service};
use buoy::lab::Host;
use buoy_ipvs::kernel::{Message, ModuleLoading};
use buoy_ipvs::{
    Change, KernelPlane, MemoryPlane, Plane, PlaneError, RealServerId, Refusal, ServiceId, Snapshot,
    Statistics, SyncDaemon, SyncRole, Timeouts, Weight,
};
use netlink_packet_core::Emitable;

use crate::Effort;
use crate::report::{Report, Target};
use crate::sample::Sample;
use crate::table::{SERVERS, SERVICES, configuration};
use crate::usage::cpu_of_this_thread;

const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn measure(effort: Effort, report: &mut Report) -> Result<()> {
    let rounds = match effort {
        Effort::Full => 20,
        Effort::Quick => 5,
    };
    let services = services()?;
    let what = format!("{SERVICES} services with {SERVERS} servers");
    let desk = Desk::open(Counting::kernel)?;
    desk.configure(services.clone());
    let load = desk.all_applied()?;
    let entries = f64::from(u32::try_from(SERVICES + SERVERS)?);
    report.add(format!("{what}: messages to the kernel"), "", count(load.changes)?, Target::AtMost(entries));
    report.add(format!("{what}: CPU of the reconciler and the kernel"), "s", load.cpu, Target::None);
    desk.configure(services.clone());
    desk.wait()?;
    report.add("messages of an identical reload", "", count(desk.pending())?, Target::AtMost(0.0));

    let mut administered = Took::default();
    let mut reloaded = Took::default();
    let (name, server) = middle(&services)?;
    for round in 0..rounds {
        let administration = Administration::Weight(weight(2 + round));
        let begin = Instant::now();
        desk.administer(name.clone(), server, administration)?;
        administered.note(begin, &desk.applied()?);
    }
    desk.administer(name, server, Administration::Enabled)?;
    desk.applied()?;
    let mut services = services;
    for round in 0..rounds {
        let place = services.len() / 3;
        let weighed = services.get_mut(place).and_then(|service| Arc::make_mut(service).servers.last_mut());
        weighed.context("there are servers")?.weight = weight(2 + round);
        let settings = services.clone();
        let begin = Instant::now();
        desk.configure(settings);
        reloaded.note(begin, &desk.applied()?);
    }
    desk.wait()?;
    ensure!(desk.pending() == 0, "changes that nobody asked for");
    desk.close()?;
    for (how, took) in [("an operator's word", administered), ("other settings", reloaded)] {
        let what = format!("{what}, one changed weight by {how}");
        report.add(format!("{what}: messages"), "", count(took.changes)?, Target::AtMost(1.0));
        let times = Sample::of(took.times).context("no rounds")?;
        let measure = format!("{what}: until the kernel has it, median of {rounds}");
        report.add(measure, "ms", times.median(), Target::AtMost(50.0));
        report.add(format!("{what}: the same, worst"), "ms", times.worst(), Target::None);
    }
    Ok(())
}

/// What a load takes of Buoy alone, with a table in memory in the kernel's place; not in user-mode Linux, where every
/// page of memory that is touched first costs as much as a system call.
pub(crate) fn measure_own(report: &mut Report) -> Result<()> {
    let before = cpu_of_this_thread();
    let services = services()?;
    let reading = cpu_of_this_thread().saturating_sub(before).as_secs_f64();
    let desk = Desk::open(Counting::memory)?;
    desk.configure(services);
    let load = desk.all_applied()?;
    desk.close()?;
    let what = format!("{SERVICES} services with {SERVERS} servers");
    report.add(format!("{what}: CPU to read the file"), "s", reading, Target::None);
    report.add(format!("{what}: CPU to reconcile and write the messages"), "s", load.cpu, Target::None);
    report.add(format!("{what}: own CPU in all"), "s", reading + load.cpu, Target::AtMost(1.0));
    Ok(())
}

/// What single changes took.
#[derive(Default)]
struct Took {
    /// Milliseconds.
    times: Vec<f64>,
    /// Most for one.
    changes: usize,
}

impl Took {
    fn note(&mut self, begin: Instant, applied: &Applied) {
        self.times.push(applied.at.saturating_duration_since(begin).as_secs_f64() * 1000.0);
        self.changes = self.changes.max(applied.changes);
    }
}

fn services() -> Result<Vec<Arc<Service>>> {
    let loaded = config::load_text("bench.conf".as_ref(), &configuration(None), &LoadOptions::default());
    let plan = loaded.plan.context("the configuration is refused")?;
    Ok(plan.services.into_iter().map(|service| service.service).collect())
}

fn middle(services: &[Arc<Service>]) -> Result<(Arc<str>, RealServerId)> {
    let service = services.get(services.len() / 2).context("there are services")?;
    let server = service.servers.first().context("there are servers")?;
    Ok((service.name.clone(), server.id))
}

fn weight(number: u32) -> Weight {
    Weight::clamped(number.into())
}

fn count(number: usize) -> Result<f64> {
    Ok(f64::from(u32::try_from(number)?))
}

/// Changes that the kernel has made.
struct Applied {
    changes: usize,
    at: Instant,
    /// Seconds of processor time that the thread had used by then.
    cpu: f64,
}

/// A plane that tells what it was asked for.
struct Counting {
    plane: Box<dyn Plane>,
    applied: SyncSender<Applied>,
    /// What the kernel would get, where it gets nothing.
    message: Option<Vec<u8>>,
}

impl Counting {
    fn kernel(applied: SyncSender<Applied>) -> Result<Self, PlaneError> {
        let plane = Box::new(KernelPlane::open(ModuleLoading::Allowed)?);
        Ok(Self { plane, applied, message: None })
    }

    fn memory(applied: SyncSender<Applied>) -> Result<Self, PlaneError> {
        Ok(Self { plane: Box::new(MemoryPlane::new()), applied, message: Some(Vec::new()) })
    }
}

type Open = fn(SyncSender<Applied>) -> Result<Counting, PlaneError>;

/// The driver on a host of its own, and the way to it.
struct Desk {
    handle: Handle,
    applied: Receiver<Applied>,
    thread: JoinHandle<()>,
    _host: Host,
}

impl Desk {
    fn open(plane: Open) -> Result<Self> {
        let host = Host::new("director")?;
        let (handle, orders) = orders();
        let (sender, applied) = sync_channel(64);
        // A thread begins in the network namespace of the one that makes it.
        let thread = host.run(move || {
            thread::spawn(move || {
                let open = || plane(sender.clone());
                let tell = |notice| match notice {
                    Notice::Report(_) => {}
                    trouble => eprintln!("balancing: {trouble:?}"),
                };
                Driver::new(&orders, true, open, tell).run();
            })
        });
        Ok(Self { handle, applied, thread, _host: host })
    }

    fn configure(&self, services: Vec<Arc<Service>>) {
        self.handle.configure(Settings { services, timeouts: Timeouts::default(), flush: false });
    }

    fn administer(
        &self,
        service: Arc<str>,
        server: RealServerId,
        administration: Administration,
    ) -> Result<()> {
        let (answer, answered) = sync_channel(1);
        let reply = Box::new(move |done| answer.send(done).unwrap_or_default());
        let (service, server) = (service.to_string(), server.to_string());
        self.handle.call(Call::Administer { service, server, administration, reply })?;
        answered.recv_timeout(PATIENCE).context("no answer of the driver")??;
        Ok(())
    }

    /// The next changes that are made.
    fn applied(&self) -> Result<Applied> {
        self.applied.recv_timeout(PATIENCE).context("nothing is changed")
    }

    /// Everything that is to be done now: services first, then what stands behind those that are taken.
    fn all_applied(&self) -> Result<Applied> {
        let first = self.applied()?;
        self.wait()?;
        let add = |all: Applied, next: Applied| Applied { changes: all.changes + next.changes, ..next };
        Ok(self.applied.try_iter().fold(first, add))
    }

    /// Changes that were made and not looked at.
    fn pending(&self) -> usize {
        self.applied.try_iter().map(|applied| applied.changes).sum()
    }

    /// Until what was told before has been done: a call is answered before the plane is brought up to date for it, so the
    /// second answer comes after that.
    fn wait(&self) -> Result<()> {
        for _ in 0..2 {
            let nobody = RealServerId { address: std::net::Ipv4Addr::UNSPECIFIED.into(), port: 0 };
            if self.administer("nobody".into(), nobody, Administration::Enabled).is_ok() {
                bail!("a virtual server that is not there");
            }
        }
        Ok(())
    }

    fn close(self) -> Result<()> {
        let (done, ended) = sync_channel(1);
        self.handle.stop(Farewell::Flush, Box::new(move |()| done.send(()).unwrap_or_default()));
        ended.recv_timeout(PATIENCE).context("the driver does not end")?;
        self.thread.join().ok().context("the driver panicked")
    }
}

impl Plane for Counting {
    fn snapshot(&mut self) -> Result<Snapshot, PlaneError> {
        self.plane.snapshot()
    }

    fn statistics(&mut self) -> Result<Statistics, PlaneError> {
        self.plane.statistics()
    }

    fn zero(&mut self, service: Option<&ServiceId>) -> Result<(), PlaneError> {
        self.plane.zero(service)
    }

    fn flush(&mut self) -> Result<(), PlaneError> {
        self.plane.flush()
    }

    fn timeouts(&mut self) -> Result<Timeouts, PlaneError> {
        self.plane.timeouts()
    }

    fn set_timeouts(&mut self, timeouts: Timeouts) -> Result<(), PlaneError> {
        self.plane.set_timeouts(timeouts)
    }

    fn sync_daemons(&mut self) -> Result<Vec<SyncDaemon>, PlaneError> {
        self.plane.sync_daemons()
    }

    fn start_sync(&mut self, daemon: &SyncDaemon) -> Result<(), PlaneError> {
        self.plane.start_sync(daemon)
    }

    fn stop_sync(&mut self, role: SyncRole) -> Result<(), PlaneError> {
        self.plane.stop_sync(role)
    }

    fn apply(&mut self, changes: &[Change]) -> Result<Vec<Refusal>, PlaneError> {
        if let Some(buffer) = &mut self.message {
            for message in changes.iter().map(Message::change) {
                buffer.resize(message.buffer_len(), 0);
                message.emit(buffer);
            }
        }
        let refused = self.plane.apply(changes)?;
        let applied =
            Applied { changes: changes.len(), at: Instant::now(), cpu: cpu_of_this_thread().as_secs_f64() };
        // The bench may be at its end.
        self.applied.try_send(applied).unwrap_or_default();
        Ok(refused)
    }
}
