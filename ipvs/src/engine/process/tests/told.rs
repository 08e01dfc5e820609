use super::*;
use crate::sync::SendRules;
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

impl Out {
    fn verdict_to(&self) -> Option<Address> {
        match self.verdict {
            Verdict::Forward { to, .. } => Some(to),
            _ => None,
        }
    }
}
