use super::*;
use crate::engine::process::Told;
use crate::sync::{SendRules, Subject};
use crate::virtual_service::Persistence;

const SERVERS: [(&str, u16, Forwarding); 2] =
    [("10.2.0.12", 8080, Forwarding::Masquerade), ("10.2.0.11", 8080, Forwarding::Masquerade)];

/// A master and its backup, with the same services.
fn pair(service: &VirtualService) -> (Site, Site) {
    let master = Settings { sync: Some(SendRules::default()), ..Settings::default() };
    let mut pair = (Site::with(master), Site::new());
    pair.0.service(service, &SERVERS);
    pair.1.service(service, &SERVERS);
    pair
}

/// Tells the backup what the master has to tell; says how many records that is.
fn tell(master: &mut Site, backup: &mut Site) -> usize {
    let mut records = 0;
    while let Some(record) = master.engine.poll_told() {
        let moment = backup.engine.moment(backup.now);
        backup.engine.handle_record(&record, moment);
        records += 1;
    }
    records
}

fn establish(site: &mut Site, port: u16) -> Out {
    site.send(&tcp(port, SYN));
    site.send(&tcp(port, ACK));
    site.send(&tcp(port, ACK))
}

#[test]
fn a_backup_carries_on_with_the_connections_of_its_master() {
    let (mut master, mut backup) = pair(&web());
    let ports = [3001, 3002, 3003];
    let before = ports.map(|port| establish(&mut master, port).way());
    assert_eq!(tell(&mut master, &mut backup), 3);
    assert_eq!(ports.map(|port| backup.send(&tcp(port, ACK)).way()), before);
    let counters = backup.counters(&web().id, "10.2.0.11", 8080);
    assert_eq!((counters.active, counters.connections), (2, 0), "they were not made here");
    let answer = backup.send(&back("10.2.0.11", ("10.1.0.9", 3001), ACK));
    assert_eq!(answer.way(), "10.9.0.1:80 > 10.1.0.9:3001 to 10.1.0.9");
}

#[test]
fn an_ended_connection_is_told_of_at_once() {
    let (mut master, mut backup) = pair(&web());
    establish(&mut master, 3001);
    tell(&mut master, &mut backup);
    master.send(&tcp(3001, FIN | ACK));
    assert_eq!(tell(&mut master, &mut backup), 1);
    assert_eq!(backup.connection().state(), Some(ConnectionState::Tcp(TcpState::CloseWait)));
    assert_eq!(backup.counters(&web().id, "10.2.0.11", 8080).active, 0);
}

#[test]
fn half_open_connections_are_not_told_of() {
    let (mut master, mut backup) = pair(&web());
    for _ in 0..5 {
        master.send(&tcp(3001, SYN));
    }
    assert_eq!(tell(&mut master, &mut backup), 0);
}

#[test]
fn clients_of_a_persistent_service_are_known_to_the_backup() {
    let timeout = Duration::from_secs(300);
    let persistence = Some(Persistence { timeout, prefix_len: 32, engine: None });
    let (mut master, mut backup) = pair(&VirtualService { persistence, ..web() });
    let before = establish(&mut master, 3001);
    assert!(tell(&mut master, &mut backup) >= 2, "a template and a connection");
    // The other server's turn, if nobody knew the client.
    assert_eq!(backup.send(&tcp(3002, SYN)).verdict_to(), before.verdict_to());
    assert_eq!(backup.counters(&web().id, "10.2.0.11", 8080).persistent, 1);
}

#[test]
fn templates_of_a_mark_say_it_twice_as_those_of_the_kernel_do() {
    let timeout = Duration::from_secs(300);
    let persistence = Some(Persistence { timeout, prefix_len: 32, engine: None });
    let mark = FwMark::new(7).expect("a mark");
    let id = ServiceId::FwMark { family: crate::virtual_service::Family::V4, mark };
    let service = VirtualService { persistence, ..VirtualService::new(id, Scheduler::Rr) };
    let (mut master, mut backup) = pair_of_engines(&service, &[("10.2.0.11", 0, Forwarding::Masquerade)]);
    master.send_marked(&tcp(3001, SYN), Some(mark));
    let record = master.engine.poll_told().expect("its template");
    assert!(matches!(record.subject, Subject::Template(_)));
    assert_eq!((record.mark, record.tuple.ends().service.address), (Some(mark), address("0.0.0.7")));
    let moment = backup.engine.moment(backup.now);
    assert_eq!(backup.engine.handle_record(&record, moment), Told::Taken);
    assert_eq!(backup.engine.statistics().servers.values().map(|server| server.persistent).sum::<u32>(), 1);
}

#[test]
fn a_connection_to_a_server_that_the_backup_does_not_have_is_forwarded_all_the_same() {
    let (mut master, mut backup) = pair(&web());
    let before = establish(&mut master, 3001).way();
    let id = RealServerId { address: ip("10.2.0.11"), port: 8080 };
    backup.apply(Change::RemoveServer(web().id, id));
    tell(&mut master, &mut backup);
    assert_eq!(backup.connection().server_index(), None);
    assert_eq!(backup.send(&tcp(3001, ACK)).way(), before);
    backup.apply(Change::AddServer(web().id, server("10.2.0.11", 8080, Forwarding::Masquerade, 1)));
    master.send(&tcp(3001, FIN | ACK));
    tell(&mut master, &mut backup);
    assert!(backup.connection().server_index().is_some(), "bound by the next record");
}

#[test]
fn another_server_takes_over_in_the_backup_as_in_the_master() {
    let (mut master, mut backup) = pair(&web());
    establish(&mut master, 3001);
    tell(&mut master, &mut backup);
    let id = RealServerId { address: ip("10.2.0.11"), port: 8080 };
    master.apply(Change::RemoveServer(web().id, id));
    let moved = establish(&mut master, 3001).way();
    tell(&mut master, &mut backup);
    assert_eq!(backup.send(&tcp(3001, ACK)).way(), moved);
    assert_eq!(backup.engine.connections(), 1);
}

#[test]
fn what_the_master_tells_no_more_ends_in_the_backup_by_itself() {
    let (mut master, mut backup) = pair(&web());
    establish(&mut master, 3001);
    tell(&mut master, &mut backup);
    backup.pass(Duration::from_secs(901));
    let counters = backup.counters(&web().id, "10.2.0.11", 8080);
    assert_eq!((backup.engine.connections(), counters.active), (0, 0));
}

/// A master with the engine's own rules, and its backup.
fn pair_of_engines(service: &VirtualService, servers: &[(&str, u16, Forwarding)]) -> (Site, Site) {
    let master = Settings { sync: Some(SendRules::ENGINE), ..Settings::default() };
    let mut pair = (Site::with(master), Site::new());
    pair.0.service(service, servers);
    pair.1.service(service, servers);
    pair
}

#[test]
fn a_connection_that_its_server_ends_or_resets_is_told_of_before_the_client_says_anything() {
    for (flags, state) in [(FIN | ACK, TcpState::FinWait), (RST, TcpState::Close)] {
        let server = ("10.2.0.12", 8080, Forwarding::Masquerade);
        let (mut master, mut backup) = pair_of_engines(&web(), &[server]);
        establish(&mut master, 3001);
        tell(&mut master, &mut backup);
        master.send(&back("10.2.0.12", ("10.1.0.9", 3001), ACK));
        assert_eq!(tell(&mut master, &mut backup), 0, "nothing has changed");
        master.send(&back("10.2.0.12", ("10.1.0.9", 3001), flags));
        assert_eq!(tell(&mut master, &mut backup), 1);
        assert_eq!(backup.connection().state(), Some(ConnectionState::Tcp(state)));
    }
}

#[test]
fn a_connection_that_its_server_refuses_is_not_told_of() {
    let server = ("10.2.0.12", 8080, Forwarding::Masquerade);
    let (mut master, mut backup) = pair_of_engines(&web(), &[server]);
    master.send(&tcp(3001, SYN));
    master.send(&back("10.2.0.12", ("10.1.0.9", 3001), RST | ACK));
    assert_eq!(tell(&mut master, &mut backup), 0);
}

#[test]
fn a_director_that_has_taken_over_tells_of_what_servers_do_in_connections_of_its_predecessor() {
    let server = ("10.2.0.12", 8080, Forwarding::Masquerade);
    let (mut first, mut second) = pair_of_engines(&web(), &[server]);
    let mut third = Site::new();
    third.service(&web(), &[server]);
    establish(&mut first, 3001);
    tell(&mut first, &mut second);
    second.engine.set_settings(Settings { sync: Some(SendRules::ENGINE), ..Settings::default() });
    second.send(&back("10.2.0.12", ("10.1.0.9", 3001), FIN | ACK));
    assert_eq!(tell(&mut second, &mut third), 1);
    assert_eq!(third.connection().state(), second.connection().state());
    second.send(&tcp(3001, ACK));
    assert_eq!(tell(&mut second, &mut third), 0, "that was told");
}

#[test]
fn by_the_rules_of_the_kernel_what_a_server_does_waits_for_the_client() {
    let (mut master, mut backup) = pair(&web());
    establish(&mut master, 3001);
    tell(&mut master, &mut backup);
    master.send(&back("10.2.0.11", ("10.1.0.9", 3001), RST));
    assert_eq!(tell(&mut master, &mut backup), 0);
    master.send(&tcp(3001, ACK));
    assert_eq!(tell(&mut master, &mut backup), 1);
}

#[test]
fn a_quiet_connection_lives_on_at_the_backup_as_long_as_at_the_master() {
    let (mut master, mut backup) = pair_of_engines(&web(), &SERVERS);
    let before = establish(&mut master, 3001).way();
    for _ in 0..24 {
        tell(&mut master, &mut backup);
        master.pass(Duration::from_secs(600));
        backup.pass(Duration::from_secs(600));
        master.send(&tcp(3001, ACK));
    }
    assert_eq!((master.engine.connections(), backup.engine.connections()), (1, 1));
    assert_eq!(backup.send(&tcp(3001, ACK)).way(), before);
}

#[test]
fn a_connection_that_somebody_else_forwards_is_told_of_when_its_packets_are_counted() {
    let (mut master, mut backup) = pair(&web());
    master.send(&tcp(3001, SYN));
    let Verdict::Forward { connection: Some(connection), .. } = master.send(&tcp(3001, ACK)).verdict else {
        panic!("it is forwarded")
    };
    assert_eq!(tell(&mut master, &mut backup), 0, "it had two packets");
    for (packets, records) in [(0, 0), (40, 1), (10, 0), (1, 1), (49, 0), (100, 1)] {
        let moment = master.engine.moment(master.now);
        master.engine.forwarded(connection, Direction::Input, packets, 60 * packets, moment);
        master.engine.forwarded(connection, Direction::Output, packets, 60 * packets, moment);
        assert_eq!(tell(&mut master, &mut backup), records, "{packets}");
    }
}

#[test]
fn a_connection_that_somebody_else_forwards_is_told_of_again_as_long_as_it_has_packets() {
    let server = ("10.2.0.11", 8080, Forwarding::Masquerade);
    let (mut master, mut backup) = pair_of_engines(&web(), &[server]);
    master.send(&tcp(3001, SYN));
    let Verdict::Forward { connection: Some(connection), .. } = master.send(&tcp(3001, ACK)).verdict else {
        panic!("it is forwarded")
    };
    assert_eq!(tell(&mut master, &mut backup), 1);
    for (packets, records) in [(0, 0), (1, 1), (0, 0), (9, 1)] {
        master.pass(Duration::from_secs(100));
        let moment = master.engine.moment(master.now);
        master.engine.forwarded(connection, Direction::Input, packets, 60 * packets, moment);
        assert_eq!(tell(&mut master, &mut backup), records, "{packets}");
    }
}

fn full_nat() -> VirtualService {
    VirtualService { local_addresses: [ip("10.2.0.1")].into_iter().collect(), ..web() }
}

const BEHIND_FULL_NAT: [(&str, u16, Forwarding); 1] = [("10.2.0.11", 8080, Forwarding::FullNat)];

#[test]
fn a_backup_that_takes_over_full_nat_lends_the_same_port_and_to_nobody_else() {
    let (mut master, mut backup) = pair_of_engines(&full_nat(), &BEHIND_FULL_NAT);
    let before = establish(&mut master, 3001);
    let local = before.view().ports.expect("ports").source;
    tell(&mut master, &mut backup);
    assert_eq!(backup.engine.services.local_ports().in_use(), 1);
    assert_eq!(backup.send(&tcp(3001, ACK)).bytes, before.bytes);
    let answer = backup.send(&back("10.2.0.11", ("10.2.0.1", local), ACK));
    assert_eq!(answer.way(), "10.9.0.1:80 > 10.1.0.9:3001 to 10.1.0.9");
    backup.pass(Duration::from_secs(901));
    assert_eq!(backup.engine.services.local_ports().in_use(), 0, "given back with its end");
}

#[test]
fn a_local_port_that_stands_for_somebody_else_is_not_taken_from_him() {
    let (mut master, mut backup) = pair_of_engines(&full_nat(), &BEHIND_FULL_NAT);
    let port_of = |out: &Out| out.view().ports.expect("ports").source;
    // Both lend by the same random numbers here.
    let theirs = establish(&mut master, 3001);
    let ours = establish(&mut backup, 4001);
    assert_eq!(port_of(&theirs), port_of(&ours));
    let record = master.engine.poll_told().expect("it is told of");
    let moment = backup.engine.moment(backup.now);
    assert_eq!(backup.engine.handle_record(&record, moment), Told::LocalPortInUse);
    assert_eq!(backup.engine.connections(), 1);
    let answer = backup.send(&back("10.2.0.11", ("10.2.0.1", port_of(&ours)), ACK));
    assert_eq!(answer.way(), "10.9.0.1:80 > 10.1.0.9:4001 to 10.1.0.9");
    backup.pass(Duration::from_secs(901));
    assert_eq!(backup.engine.services.local_ports().in_use(), 0);
    assert_eq!(backup.engine.handle_record(&record, moment), Told::Taken);
}

#[test]
fn what_finds_no_room_keeps_no_local_port() {
    let (mut master, _) = pair_of_engines(&full_nat(), &BEHIND_FULL_NAT);
    let now = Instant::now();
    let engine = Engine::new(Settings::default(), Limits { connections: 4 }, 8, now);
    let mut backup = Site { engine, now, ..Site::new() };
    backup.service(&full_nat(), &BEHIND_FULL_NAT);
    (4001..4005).for_each(|port| drop(establish(&mut backup, port)));
    establish(&mut master, 3001);
    let record = master.engine.poll_told().expect("it is told of");
    let moment = backup.engine.moment(backup.now);
    let before = backup.engine.connections();
    assert_eq!(backup.engine.handle_record(&record, moment), Told::NoRoom);
    assert_eq!(
        (backup.engine.connections(), backup.engine.services.local_ports().in_use()),
        (before, before)
    );
}

#[test]
fn a_connection_that_has_another_local_port_at_the_master_has_it_here_too() {
    let (mut master, mut backup) = pair_of_engines(&full_nat(), &BEHIND_FULL_NAT);
    establish(&mut master, 3001);
    tell(&mut master, &mut backup);
    master.send(&back("10.2.0.11", ("10.2.0.1", 1), RST));
    master.send(&tcp(3001, RST));
    let anew = establish(&mut master, 3001);
    tell(&mut master, &mut backup);
    assert_eq!(backup.send(&tcp(3001, ACK)).bytes, anew.bytes);
    assert_eq!(backup.engine.services.local_ports().in_use(), 1);
}

impl Out {
    fn verdict_to(&self) -> Option<Address> {
        match self.verdict {
            Verdict::Forward { to, .. } => Some(to),
            _ => None,
        }
    }
}
