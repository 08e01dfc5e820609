use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard};

use buoy_ipvs::{
    Counters, Forwarding, MemoryPlane, Protocol, RealServerId, Scheduler, ServiceId, Snapshot, SyncDaemon,
    SyncRole, Timeouts, VirtualService, Weight,
};

use std::sync::Arc;

use super::*;
use crate::control::{Administration, Health, Server, Service};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A plane that the test looks at and changes while it is driven.
#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<MemoryPlane>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, MemoryPlane> {
        self.0.lock().expect("no test has panicked with it")
    }
}

impl Plane for Shared {
    fn snapshot(&mut self) -> Result<Snapshot, PlaneError> {
        self.lock().snapshot()
    }
    fn apply(&mut self, changes: &[Change]) -> Result<Vec<Refusal>, PlaneError> {
        self.lock().apply(changes)
    }
    fn statistics(&mut self) -> Result<Statistics, PlaneError> {
        self.lock().statistics()
    }
    fn zero(&mut self, service: Option<&ServiceId>) -> Result<(), PlaneError> {
        self.lock().zero(service)
    }
    fn flush(&mut self) -> Result<(), PlaneError> {
        self.lock().flush()
    }
    fn timeouts(&mut self) -> Result<Timeouts, PlaneError> {
        self.lock().timeouts()
    }
    fn set_timeouts(&mut self, timeouts: Timeouts) -> Result<(), PlaneError> {
        self.lock().set_timeouts(timeouts)
    }
    fn sync_daemons(&mut self) -> Result<Vec<SyncDaemon>, PlaneError> {
        self.lock().sync_daemons()
    }
    fn start_sync(&mut self, daemon: &SyncDaemon) -> Result<(), PlaneError> {
        self.lock().start_sync(daemon)
    }
    fn stop_sync(&mut self, role: SyncRole) -> Result<(), PlaneError> {
        self.lock().stop_sync(role)
    }
}

struct Running {
    plane: Shared,
    handle: Handle,
    orders: Arc<Mutex<Orders>>,
    notices_in: Sender<Notice>,
    notices: Receiver<Notice>,
}

impl Running {
    fn start(prepare: impl FnOnce(&mut MemoryPlane)) -> Self {
        let plane = Shared::default();
        prepare(&mut plane.lock());
        let (notices_in, notices) = channel();
        let (handle, orders) = orders();
        let running = Self { plane, handle, orders: Arc::new(Mutex::new(orders)), notices_in, notices };
        running.drive(true);
        running
    }

    /// After the end of the driver that ran.
    fn start_again(&mut self) {
        self.drive(false);
    }

    fn drive(&self, first: bool) {
        let opened = self.plane.clone();
        let open = move || {
            // Whoever opens a plane that is not there hears so.
            opened.clone().snapshot()?;
            Ok(opened.clone())
        };
        let notices = self.notices_in.clone();
        // The test may be over.
        let tell = move |notice| drop(notices.send(notice));
        let periods = Periods { look: Duration::from_millis(20), count: Duration::from_millis(10) };
        let orders = Arc::clone(&self.orders);
        std::thread::spawn(move || {
            let orders = orders.lock().expect("no driver has panicked with it");
            Driver::with_periods(&orders, first, open, tell, periods).run();
        });
    }

    fn call(&self, call: Call) {
        self.handle.call(call).expect("it runs");
    }

    fn configure(&self, services: Vec<Service>) {
        self.handle.configure(Settings { services: shared(services), ..Settings::default() });
    }

    fn stop(&self, farewell: Farewell) {
        let (done, ended) = channel();
        self.handle.stop(farewell, Box::new(move |()| done.send(()).unwrap_or_default()));
        ended.recv_timeout(PATIENCE).expect("it ends");
    }

    fn administer(&self, last: u8, administration: Administration) -> Result<(), NotAdministered> {
        self.administer_of("web", last, administration).map(drop)
    }

    fn administer_of(
        &self,
        service: &str,
        last: u8,
        administration: Administration,
    ) -> Result<ServerKey, NotAdministered> {
        let (done, told) = channel();
        self.call(Call::Administer {
            service: service.into(),
            server: id(last).to_string(),
            administration,
            reply: Box::new(move |outcome| drop(done.send(outcome))),
        });
        told.recv_timeout(PATIENCE).expect("an answer")
    }

    fn status(&self) -> Status {
        let (told, status) = channel();
        self.call(Call::Status(Box::new(move |status| drop(told.send(status)))));
        status.recv_timeout(PATIENCE).expect("a status")
    }

    #[track_caller]
    fn wait_until(&self, what: &str, right: impl Fn(&mut MemoryPlane) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !right(&mut self.plane.lock()) {
            assert!(Instant::now() < deadline, "waited in vain until {what}: {:?}", self.plane.lock().table);
            std::thread::yield_now();
        }
    }

    #[track_caller]
    fn wait_for(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let notice = self.notices.recv_timeout(left).unwrap_or_else(|_| panic!("no notice {words:?}"));
            if in_words(&notice).contains(words) {
                return;
            }
        }
    }
}

fn in_words(notice: &Notice) -> String {
    match notice {
        Notice::Report(report) => report.to_string(),
        Notice::Refused(refusal) => refusal.to_string(),
        Notice::SyncRefused(refused) | Notice::TimeoutsRefused(refused) => refused.clone(),
        Notice::PlaneFailed(error) => format!("fails: {error}"),
        Notice::PlaneWorks => "works".to_owned(),
        Notice::DoubtBegins => "doubt begins".to_owned(),
        Notice::DoubtEnds => "doubt ends".to_owned(),
    }
}

fn vip() -> ServiceId {
    ServiceId::Address { protocol: Protocol::Tcp, address: [10, 0, 0, 1].into(), port: 80 }
}

fn foreign() -> ServiceId {
    ServiceId::Address { protocol: Protocol::Udp, address: [10, 0, 0, 9].into(), port: 53 }
}

fn id(last: u8) -> RealServerId {
    RealServerId { address: [10, 1, 0, last].into(), port: 80 }
}

fn services(servers: &[u8], scheduler: Scheduler) -> Vec<Service> {
    let server = |last: &u8| Server {
        id: id(*last),
        forwarding: Forwarding::Direct,
        weight: Weight::ONE,
        upper_threshold: 0,
        lower_threshold: 0,
        inhibit_on_failure: false,
        alpha: false,
        mark: None,
    };
    vec![Service {
        name: "web".into(),
        members: vec![VirtualService::new(vip(), scheduler)],
        servers: servers.iter().map(server).collect(),
        quorum: 1,
        hysteresis: 0,
        sorry: None,
        panic_threshold: 0,
        drain_deadline: None,
    }]
}

fn shared(services: Vec<Service>) -> Vec<Arc<Service>> {
    services.into_iter().map(Arc::new).collect()
}

/// Another virtual server with one real server.
fn other_service() -> (ServiceId, Service) {
    let other = ServiceId::Address { protocol: Protocol::Tcp, address: [10, 0, 0, 2].into(), port: 80 };
    let mut service = services(&[1], Scheduler::Wlc).remove(0);
    (service.name, service.members[0].id) = ("other".into(), other);
    (other, service)
}

fn busy() -> Counters {
    Counters { active: 3, ..Counters::default() }
}

fn drains(plane: &MemoryPlane, service: &ServiceId, last: u8) -> bool {
    plane.table.server(service, &id(last)).is_some_and(|server| server.weight.is_zero())
}

fn holds(plane: &MemoryPlane, last: u8) -> bool {
    plane.table.server(&vip(), &id(last)).is_some()
}

#[test]
fn what_is_configured_is_there_and_comes_back_after_somebody_flushed_it() {
    let running = Running::start(|_| {});
    running.configure(services(&[1, 2], Scheduler::Wlc));
    running.wait_until("both servers are there", |plane| holds(plane, 1) && holds(plane, 2));
    let told = running.plane.lock().told.len();
    running.configure(services(&[1, 2], Scheduler::Wlc));
    running.plane.lock().table = buoy_ipvs::Table::new();
    running.wait_for("somebody else changed IPVS; putting it right: add virtual service TCP 10.0.0.1:80");
    running.wait_until("both servers are back", |plane| holds(plane, 1) && holds(plane, 2));
    assert_eq!(running.plane.lock().told.len(), told * 2, "what was there again, and nothing for the reload");
}

#[test]
fn a_burst_of_results_takes_out_what_died_and_a_drained_server_goes_when_it_is_empty() {
    let running = Running::start(|_| {});
    running.configure(services(&[1, 2, 3], Scheduler::Wlc));
    running.wait_until("they are there", |plane| holds(plane, 3));
    let health = Health::down("connection refused");
    running.handle.health(("web".into(), id(1)), health);
    running.wait_for("real server 10.1.0.1:80 of web is down: connection refused");
    running.wait_until("it is out", |plane| !holds(plane, 1));
    running.plane.lock().statistics.servers.insert((vip(), id(2)), busy());
    assert_eq!(running.administer(2, Administration::Drain { deadline: None }), Ok(()));
    running.wait_until("it drains", |plane| drains(plane, &vip(), 2));
    running.plane.lock().statistics.servers.insert((vip(), id(2)), Counters::default());
    running.wait_for("real server 10.1.0.2:80 of web is drained: its last connection has ended");
    running.wait_until("it is gone", |plane| !holds(plane, 2) && holds(plane, 3));
}

#[test]
fn doubt_begins_before_a_silent_server_leaves_and_ends_after_it_is_back() {
    let (plane, (handle, orders)) = (Shared::default(), orders());
    let (told, doubt) = channel();
    let (opened, seen) = (plane.clone(), plane.clone());
    let tell = move |notice| {
        if matches!(notice, Notice::DoubtBegins | Notice::DoubtEnds) {
            let plane = seen.lock();
            // The test may be over.
            drop(told.send((in_words(&notice), holds(&plane, 1), holds(&plane, 2))));
        }
    };
    std::thread::spawn(move || Driver::new(&orders, true, move || Ok(opened.clone()), tell).run());
    let running = |last| ("web".into(), id(last));
    let heard = || doubt.recv_timeout(PATIENCE).expect("a notice");
    handle.configure(Settings { services: shared(services(&[1, 2], Scheduler::Wlc)), ..Settings::default() });
    while !holds(&plane.lock(), 2) {
        std::thread::yield_now();
    }
    let silent = Health { doubted: true, ..Health::down("timed out") };
    handle.health(running(1), silent.clone());
    assert_eq!(heard(), ("doubt begins".to_owned(), true, true));
    handle.health(running(2), silent);
    handle.health(running(2), Health::down("timed out"));
    handle.health(running(1), Health::up("up"));
    assert_eq!(heard(), ("doubt ends".to_owned(), true, false));
    handle.health(running(1), Health::down("connection refused"));
    let (done, ended) = channel();
    handle.stop(Farewell::Keep, Box::new(move |()| done.send(()).unwrap_or_default()));
    ended.recv_timeout(PATIENCE).expect("it ends");
    assert!(!holds(&plane.lock(), 1) && doubt.try_recv().is_err(), "a refusal leaves no doubt");
}

#[test]
fn a_service_that_the_plane_refuses_is_told_once_and_does_not_keep_the_others_out() {
    let running = Running::start(|plane| {
        plane.schedulers.remove(&Scheduler::Mh);
    });
    let mut all = services(&[1], Scheduler::Wlc);
    let (other, mut refused) = other_service();
    refused.members = vec![VirtualService::new(other, Scheduler::Mh)];
    all.push(refused);
    running.configure(all);
    running.wait_for("module ip_vs_mh is missing");
    running.wait_until("the other one is there", |plane| holds(plane, 1));
    running.plane.lock().schedulers.insert(Scheduler::Mh);
    running.wait_until("it is tried again", |plane| plane.table.server(&other, &id(1)).is_some());
    let told: Vec<String> = running.notices.try_iter().map(|notice| in_words(&notice)).collect();
    let again =
        told.iter().any(|words| words.contains("ip_vs_mh") || words.contains("cannot add real server"));
    assert!(!again, "{told:?}");
}

#[test]
fn a_plane_that_is_missing_is_told_once_and_used_when_it_comes() {
    let running = Running::start(|plane| plane.present = false);
    running.configure(services(&[1], Scheduler::Wlc));
    for _ in 0..2 {
        running.wait_for("fails: ");
        running.plane.lock().present = true;
        running.wait_for("works");
        running.wait_until("it is there", |plane| holds(plane, 1));
        running.plane.lock().present = false;
    }
}

#[test]
fn the_end_takes_out_what_is_ours_or_leaves_it_or_takes_out_all() {
    for (farewell, ours, all) in
        [(Farewell::Remove, false, 1), (Farewell::Keep, true, 2), (Farewell::Flush, false, 0)]
    {
        let running = Running::start(|plane| {
            plane.table.set_service(VirtualService::new(foreign(), Scheduler::Rr));
        });
        running.configure(services(&[1], Scheduler::Wlc));
        running.wait_until("it is there", |plane| holds(plane, 1));
        running.stop(farewell);
        assert_eq!(holds(&running.plane.lock(), 1), ours, "{farewell:?}");
        let plane = running.plane.lock();
        assert_eq!(plane.table.entries().len(), all, "{farewell:?}: {:?}", plane.told);
    }
}

#[test]
fn what_came_last_is_carried_out_before_the_end() {
    let running = Running::start(|_| {});
    running.configure(services(&[1], Scheduler::Wlc));
    running.stop(Farewell::Keep);
    assert!(holds(&running.plane.lock(), 1));
}

#[test]
fn flush_empties_the_plane_once_at_the_start() {
    let running = Running::start(|plane| {
        plane.table.set_service(VirtualService::new(foreign(), Scheduler::Rr));
    });
    let settings =
        Settings { services: shared(services(&[1], Scheduler::Wlc)), flush: true, ..Settings::default() };
    running.handle.configure(settings.clone());
    running.wait_until("it is there", |plane| holds(plane, 1) && plane.table.entries().len() == 1);
    running.plane.lock().table.set_service(VirtualService::new(foreign(), Scheduler::Rr));
    running.plane.lock().present = false;
    running.wait_for("fails: ");
    running.plane.lock().present = true;
    running.wait_for("works");
    running.handle.configure(settings);
    running.wait_until("it goes on", |plane| holds(plane, 1) && plane.table.entries().len() == 2);
}

#[test]
fn a_plane_that_sync_has_opened_is_flushed_when_the_settings_say_so_and_not_before() {
    let running = Running::start(|plane| {
        plane.table.set_service(VirtualService::new(foreign(), Scheduler::Rr));
    });
    running.handle.sync(vec![SyncDaemon::new(SyncRole::Backup, "eth0", 1)]);
    running
        .wait_until("the backup runs", |plane| plane.sync_daemons().is_ok_and(|daemons| daemons.len() == 1));
    assert_eq!(running.plane.lock().table.entries().len(), 1);
    running.handle.configure(Settings {
        services: shared(services(&[1], Scheduler::Wlc)),
        flush: true,
        ..Settings::default()
    });
    running.wait_until("ours alone is there", |plane| holds(plane, 1) && plane.table.entries().len() == 1);
}

#[test]
fn timeouts_are_set_kept_and_put_back() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let before = Timeouts { tcp: seconds(900), tcp_fin: seconds(120), udp: seconds(300) };
    let running = Running::start(|plane| plane.set_timeouts(before).expect("they are possible"));
    let timeouts = Timeouts { tcp: seconds(60), ..Timeouts::default() };
    let services = services(&[1], Scheduler::Wlc);
    running.handle.configure(Settings { services: shared(services.clone()), timeouts, flush: false });
    let wanted = Timeouts { tcp: seconds(60), ..before };
    running.wait_until("they are set", |plane| plane.timeouts().is_ok_and(|now| now == wanted));
    running.plane.lock().set_timeouts(before).expect("they are possible");
    running.wait_until("they are set again", |plane| plane.timeouts().is_ok_and(|now| now == wanted));
    running.configure(services);
    running.wait_until("they are put back", |plane| plane.timeouts().is_ok_and(|now| now == before));
    running.handle.configure(Settings { timeouts, ..Settings::default() });
    running.wait_until("they are set for nobody", |plane| plane.timeouts().is_ok_and(|now| now == wanted));
    running.stop(Farewell::Remove);
    assert_eq!(running.plane.lock().timeouts().expect("it answers"), before);
}

#[test]
fn sync_daemons_follow_and_end_with_the_driver() {
    let running = Running::start(|_| {});
    let roles = |plane: &mut MemoryPlane| {
        let running = plane.sync_daemons().expect("it answers");
        running.iter().map(|daemon| daemon.role).collect::<Vec<_>>()
    };
    running.handle.sync(vec![SyncDaemon::new(SyncRole::Backup, "eth0", 1)]);
    running.wait_until("the backup runs", |plane| roles(plane) == [SyncRole::Backup]);
    running.handle.sync(vec![SyncDaemon::new(SyncRole::Master, "eth0", 1)]);
    running.wait_until("the master runs", |plane| roles(plane) == [SyncRole::Master]);
    running.plane.lock().stop_sync(SyncRole::Master).expect("it runs");
    running.wait_until("it runs again", |plane| roles(plane) == [SyncRole::Master]);
    running.stop(Farewell::Keep);
    assert_eq!(roles(&mut running.plane.lock()), []);
}

#[test]
fn a_driver_that_starts_anew_knows_what_was_configured_and_what_operators_have_said() {
    let mut running = Running::start(|_| {});
    running.configure(services(&[1, 2], Scheduler::Wlc));
    let weight = Weight::clamped(7);
    assert_eq!(running.administer(1, Administration::Weight(weight)), Ok(()));
    running.stop(Farewell::Keep);
    running.plane.lock().table = buoy_ipvs::Table::new();
    running.start_again();
    running.wait_until("it has its weight", |plane| {
        plane.table.server(&vip(), &id(1)).is_some_and(|server| server.weight == weight) && holds(plane, 2)
    });
}

#[test]
fn a_driver_that_starts_anew_lets_drain_what_reloads_have_removed() {
    let mut running = Running::start(|_| {});
    let (other, service) = other_service();
    let mut all = services(&[1, 2], Scheduler::Wlc);
    all[0].drain_deadline = Some(PATIENCE * 100);
    let one = Service { servers: all[0].servers[..1].to_vec(), ..all[0].clone() };
    all.push(service);
    running.configure(all);
    running.wait_until("they are there", |plane| {
        holds(plane, 2) && plane.table.server(&other, &id(1)).is_some()
    });
    running.plane.lock().statistics.servers.extend([((vip(), id(2)), busy()), ((other, id(1)), busy())]);
    running.configure(vec![one]);
    let both_drain = |plane: &mut MemoryPlane| drains(plane, &vip(), 2) && drains(plane, &other, 1);
    running.wait_until("what is removed drains", both_drain);
    let deadline = running.status().services[1].servers[1].deadline;
    assert!(deadline.is_some());
    running.stop(Farewell::Keep);
    let told = running.plane.lock().told.len();
    running.start_again();
    let status = running.status();
    let leaving: Vec<_> =
        status.services.iter().map(|service| (&*service.settings.name, service.leaving)).collect();
    assert_eq!(leaving, [("other", true), ("web", false)]);
    let server = &status.services[1].servers[1];
    assert_eq!((server.leaving, server.draining, server.deadline), (true, true, deadline));
    // The first status came before the first turn.
    running.status();
    assert_eq!(running.plane.lock().told.len(), told, "nothing is done to what drains");
    running.plane.lock().statistics.servers.clear();
    running.wait_until("what has drained is gone", |plane| {
        !holds(plane, 2) && plane.table.entry(&other).is_none()
    });
    running.stop(Farewell::Keep);
    running.start_again();
    assert_eq!(running.status().services.len(), 1, "what is gone stays gone");
}

#[test]
fn what_a_reload_removes_while_no_driver_runs_drains_when_one_does() {
    let mut running = Running::start(|_| {});
    running.configure(services(&[1, 2, 3], Scheduler::Wlc));
    running.wait_until("they are there", |plane| holds(plane, 3));
    assert_eq!(running.administer(3, Administration::Disabled), Ok(()));
    running.wait_until("one is out", |plane| !holds(plane, 3));
    running.plane.lock().statistics.servers.insert((vip(), id(2)), busy());
    running.stop(Farewell::Keep);
    running.configure(services(&[1], Scheduler::Wlc));
    running.start_again();
    running.wait_until("it drains", |plane| drains(plane, &vip(), 2));
    assert!(!holds(&running.plane.lock(), 3), "what was out stays out");
    running.plane.lock().statistics.servers.clear();
    running.wait_until("it is gone", |plane| !holds(plane, 2));
}

#[test]
fn what_a_reload_has_removed_is_administered_by_the_names_of_the_status() {
    let mut running = Running::start(|_| {});
    let (other, service) = other_service();
    let mut all = services(&[1, 2], Scheduler::Wlc);
    all.push(service);
    running.configure(all);
    running.wait_until("they are there", |plane| {
        holds(plane, 2) && plane.table.server(&other, &id(1)).is_some()
    });
    running.plane.lock().statistics.servers.extend([((vip(), id(2)), busy()), ((other, id(1)), busy())]);
    running.configure(services(&[1], Scheduler::Wlc));
    running
        .wait_until("what is removed drains", |plane| drains(plane, &vip(), 2) && drains(plane, &other, 1));
    for useless in [Administration::Enabled, Administration::Weight(Weight::ONE)] {
        let refused = running.administer(2, useless).expect_err("it is leaving").to_string();
        assert!(
            refused.starts_with("real server 10.1.0.2:80 of web is removed from the configuration"),
            "{refused}"
        );
    }
    assert_eq!(running.administer(2, Administration::Disabled), Ok(()));
    running.wait_until("its drain is over", |plane| !holds(plane, 2));
    assert!(matches!(running.administer(2, Administration::Disabled), Err(NotAdministered::NotFound(_))));
    let soon = Administration::Drain { deadline: Some(Duration::from_millis(1)) };
    assert_eq!(running.administer_of("other", 1, soon), Ok(("other".into(), id(1))));
    running.wait_until("its time is up", |plane| plane.table.entry(&other).is_none());
    running.configure(services(&[1, 2], Scheduler::Wlc));
    running.wait_until("it serves again", |plane| holds(plane, 2) && !drains(plane, &vip(), 2));
    running.stop(Farewell::Keep);
    running.start_again();
    let server = running.status().services[0].servers[1].clone();
    assert_eq!(
        server.administration,
        Administration::Enabled,
        "what was said of it before it left is forgotten"
    );
}

#[test]
fn status_and_preview_answer() {
    let running = Running::start(|_| {});
    running.configure(services(&[1], Scheduler::Wlc));
    running.wait_until("it is there", |plane| holds(plane, 1));
    let status = running.status();
    let service = &status.services[0];
    assert_eq!((&*service.settings.name, service.quorum, service.servers.len()), ("web", true, 1));
    assert!(status.statistics.is_some());
    let (told, preview) = channel();
    let reply: Reply<Vec<Change>> = Box::new(move |changes| drop(told.send(changes)));
    running.call(Call::Preview { services: shared(services(&[1, 2], Scheduler::Wlc)), reply });
    assert_eq!(preview.recv_timeout(PATIENCE).expect("a preview").len(), 1);
    assert!(!holds(&running.plane.lock(), 2));
}

#[test]
fn whoever_waits_for_the_plane_is_told_when_it_holds_what_was_told_before() {
    let running = Running::start(|_| {});
    for last in 1..20 {
        running.configure(services(&[last], Scheduler::Rr));
        let (done, settled) = channel();
        running.call(Call::Settle(Box::new(move |()| done.send(()).unwrap_or_default())));
        settled.recv_timeout(PATIENCE).expect("an answer");
        assert!(holds(&running.plane.lock(), last), "{last}");
    }
    running.stop(Farewell::Remove);
}
