use std::path::Path;
use std::time::Instant;

use buoy_ipvs::{Change, Forwarding};

use super::*;
use crate::config::{LoadOptions, load_text};
use crate::control::Control;

fn services(text: &str) -> Vec<VirtualServer> {
    let options = LoadOptions { known_interface: &|_| true, inspect_files: false, ..LoadOptions::default() };
    load_text(Path::new("test.conf"), text, &options).plan.expect("a plan").services
}

fn service(title: &str, servers: &[&str]) -> String {
    let server = |address: &&str| format!("real_server {address} 80 {{\nTCP_CHECK {{\ncheck_vip\n}}\n}}\n");
    let servers: String = servers.iter().map(server).collect();
    format!("virtual_server {title} {{\nlb_algo wlc\nlb_kind DR\nprotocol TCP\n{servers}}}\n")
}

fn marks(services: &[VirtualServer]) -> Vec<Option<FwMark>> {
    services.iter().flat_map(|service| &service.service.servers).map(|server| server.mark).collect()
}

#[test]
fn only_servers_that_are_checked_by_way_of_their_service_have_a_mark() {
    let straight = service("10.0.0.9 80", &["10.0.1.1"]).replace("check_vip\n", "");
    assert_eq!(marks(&services(&straight)), [None]);
}

#[test]
fn mark_of_a_server_stays_whatever_stands_beside_it() {
    let alone = marks(&services(&service("10.0.0.9 80", &["10.0.1.1"])));
    let first = service("10.0.0.7 80", &["10.0.1.1", "10.0.1.2"]);
    let all = marks(&services(&(first + &service("10.0.0.9 80", &["10.0.1.3", "10.0.1.1"]))));
    assert_eq!(all.last(), alone.last());
    assert_eq!(all.iter().flatten().collect::<BTreeSet<_>>().len(), 4, "each has its own");
}

#[test]
fn marks_of_configured_services_are_left_to_them() {
    let [Some(mark)] = marks(&services(&service("10.0.0.9 80", &["10.0.1.1"])))[..] else {
        panic!("no mark")
    };
    let taken = service(&format!("fwmark {}", mark.get()), &["10.0.1.1"])
        .replace("check_vip\n", "connect_port 80\n")
        .replace("protocol TCP\n", "");
    let both = marks(&services(&(taken + &service("10.0.0.9 80", &["10.0.1.1"]))));
    assert_eq!(both, [None, FwMark::new(mark.get() + 1)]);
}

#[test]
fn answers_from_addresses_of_ipv4_have_to_be_let_in() {
    let v6 = service("2001:db8::9 80", &["2001:db8::1"]);
    let straight = service("10.0.0.8 80", &["10.0.1.1"]).replace("check_vip\n", "");
    let planned = services(&(service("10.0.0.9 80", &["10.0.1.1"]) + &v6 + &straight));
    let only = Answering { server: [10, 0, 1, 1].into(), service: [10, 0, 0, 9].into() };
    assert_eq!(answering(&planned), [only].into());
}

#[test]
fn marks_run_out_without_a_panic() {
    let mut taken: BTreeSet<u32> = (FIRST_MARK..FIRST_MARK + MARKS).collect();
    assert_eq!(free_mark(u32::MAX, &mut taken), None);
}

#[test]
fn plane_has_one_server_alone_for_each_mark_whatever_its_health_until_it_is_gone() {
    let now = Instant::now();
    let planned = services(&service("10.0.0.9 80", &["10.0.1.1", "10.0.1.2"]).replace("wlc", "wlc\nalpha"));
    let settings = |services: Vec<VirtualServer>| -> Vec<Arc<Service>> {
        services.into_iter().map(|service| service.service).collect()
    };
    let detours: Vec<Entry> = planned[0].service.servers.iter().filter_map(Server::detour).collect();
    assert_eq!(detours.len(), 2);
    let mut control = Control::new();
    control.configure(settings(planned.clone()), now);
    let desired = control.desired();
    for (detour, server) in detours.iter().zip(&planned[0].service.servers) {
        assert_eq!(desired.entry(&detour.service.id), Some(detour));
        let [alone] = detour.servers.values().collect::<Vec<_>>()[..] else { panic!("not one") };
        assert_eq!((alone.id.address, alone.id.port), (server.id.address, 0));
        assert_eq!((alone.forwarding, alone.weight), (Forwarding::Direct, Weight::ONE));
    }
    control.take_changes();
    control.configure(settings(planned), now);
    assert_eq!(control.take_changes(), [], "the same settings");
    control.configure(settings(services(&service("10.0.0.9 80", &["10.0.1.1"]))), now);
    let gone = detours[1].service.id;
    assert!(control.take_changes().contains(&Change::RemoveService(gone)));
    control.configure(Vec::<Service>::new(), now);
    assert!(control.take_changes().contains(&Change::RemoveService(detours[0].service.id)));
}
