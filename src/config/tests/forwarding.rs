//! Which plane forwards, and what only the engine has: from text to plan.

use buoy_ipvs::{Forwarding, Scheduler, Timeouts};

use super::services::{amended, quiet, service, services, with_servers};
use super::*;
use crate::config::plan::{
    EngineOnly, EngineSettings, Plan, PlaneChoice, ReuseMode, TierChoice, VirtualServer, engine_need,
};
use crate::host::desired::Address;

const GROUP: &str = "local_address_group snat {\n10.0.2.1\n}\n";

fn global(lines: &str) -> String {
    format!("global_defs {{\n{lines}\n}}\n")
}

/// A service by full NAT with these local addresses.
fn full_nat(group: &str) -> String {
    group.to_owned() + &service("laddr_group_name snat").replace("NAT", "FNAT")
}

/// The plan of a text that nothing is to be said about, the same in both syntaxes.
#[track_caller]
fn plan(text: &str) -> Plan {
    let (_, codes) = services(text);
    let loaded = load(text);
    assert_eq!(codes, [], "{text}\n{}", said(&loaded));
    loaded.plan.expect("a plan")
}

/// What is said of a text that has no plan.
#[track_caller]
fn refused(text: &str, options: &LoadOptions<'_>) -> String {
    let loaded = load_text(Path::new("test.conf"), text, options);
    assert!(loaded.plan.is_none(), "{text}");
    said(&loaded)
}

fn local(service: &VirtualServer) -> Vec<String> {
    let members = &service.service.members;
    assert!(members.iter().all(|member| member.local_addresses == members[0].local_addresses));
    members[0].local_addresses.as_slice().iter().map(ToString::to_string).collect()
}

fn scheduled(service: &VirtualServer) -> Option<Scheduler> {
    service.service.members[0].scheduler
}

#[test]
fn the_plane_is_automatic_unless_configured() {
    for (lines, wanted) in [
        ("", PlaneChoice::Auto),
        ("forwarding auto", PlaneChoice::Auto),
        ("forwarding kernel", PlaneChoice::Kernel),
        ("forwarding engine", PlaneChoice::Engine),
    ] {
        let forwarding = plan(&(global(lines) + &service(""))).balancing.forwarding;
        assert_eq!((forwarding.plane, forwarding.engine), (wanted, EngineSettings::default()), "{lines}");
    }
    let misspelt = load(&(global("forwarding engin") + &service("")));
    assert_eq!(codes(&misspelt), [Code::BadValue]);
    assert!(said(&misspelt).contains("did you mean `engine`?"), "{}", said(&misspelt));
}

#[test]
fn the_engine_has_its_settings() {
    let default = EngineSettings::default();
    for (line, wanted) in [
        ("connections 65536", EngineSettings { connections: 65_536, ..default }),
        ("tier auto", default),
        ("tier tc", EngineSettings { tier: TierChoice::Tc, ..default }),
        ("tier portable", EngineSettings { tier: TierChoice::Portable, ..default }),
        ("toa", EngineSettings { toa: true, ..default }),
        ("toa off", default),
        ("sloppy_tcp", EngineSettings { sloppy_tcp: true, ..default }),
        ("sloppy_sctp on", EngineSettings { sloppy_sctp: true, ..default }),
        ("secure_tcp yes", EngineSettings { secure_tcp: true, ..default }),
        ("pmtu_disc off", EngineSettings { pmtu_disc: false, ..default }),
        ("conn_reuse_mode 0", EngineSettings { reuse: ReuseMode::Never, ..default }),
        ("conn_reuse_mode 1", default),
        ("conn_reuse_mode 2", EngineSettings { reuse: ReuseMode::HalfEnded, ..default }),
        ("conn_reuse_mode 3", EngineSettings { reuse: ReuseMode::HalfEnded, ..default }),
        ("expire_quiescent_template", EngineSettings { expire_quiescent_template: true, ..default }),
    ] {
        let text = global(&format!("engine {{\n{line}\n}}"));
        assert_eq!(plan(&text).balancing.forwarding.engine, wanted, "{line}");
    }
    for (line, code) in [
        ("connections 1023", Code::OutOfRange),
        ("connections 134217729", Code::OutOfRange),
        ("conn_reuse_mode 4", Code::OutOfRange),
        ("tier xdp", Code::BadValue),
        ("sloppy_udp", Code::UnknownWord),
    ] {
        let loaded = load(&global(&format!("engine {{\n{line}\n}}")));
        assert_eq!(codes(&loaded), [code], "{line}\n{}", said(&loaded));
        assert_eq!(loaded.plan.expect("a plan").balancing.forwarding.engine, default, "{line}");
    }
}

#[test]
fn blocks_of_the_engine_count_together() {
    let text = global("engine {\ntoa\n}\nengine {\nsecure_tcp\n}");
    let (_, codes) = services(&text);
    assert_eq!(codes, [Code::Duplicate]);
    let engine = load(&text).plan.expect("a plan").balancing.forwarding.engine;
    assert!(engine.toa && engine.secure_tcp);
}

#[test]
fn settings_of_the_engine_wait_while_the_kernel_forwards() {
    let text = global("forwarding kernel\nengine {\ntoa\n}");
    assert_eq!(services(&text).1, [Code::Conflict]);
    assert!(load(&text).plan.expect("a plan").balancing.forwarding.engine.toa);
}

#[test]
fn full_nat_has_the_addresses_of_its_group() {
    for (lines, wanted) in [
        ("10.0.2.1", &["10.0.2.1"][..]),
        ("10.0.2.9\n10.0.2.5-6\n10.0.2.8/31", &["10.0.2.9", "10.0.2.5", "10.0.2.6", "10.0.2.8"]),
        ("10.0.2.255-10.0.3.1", &["10.0.2.255", "10.0.3.0", "10.0.3.1"]),
        ("2001:db8::1-2\n10.0.2.1", &["2001:db8::1", "2001:db8::2", "10.0.2.1"]),
    ] {
        for text in [
            full_nat(&format!("local_address_group snat {{\n{lines}\n}}\n")),
            // Below the service, and in the other spelling.
            full_nat("").replace("lb_kind", "lvs_method")
                + &format!("local_address_group snat {{\n{lines}\n}}\n"),
        ] {
            let planned = quiet(&text);
            assert_eq!(planned.service.servers[0].forwarding, Forwarding::FullNat);
            assert_eq!(local(&planned), wanted, "{lines}");
        }
    }
}

#[test]
fn full_nat_of_one_server_or_of_the_sorry_server_needs_local_addresses_too() {
    let one = with_servers(
        "laddr_group_name snat",
        "real_server 10.0.1.1 80 {\nlb_kind FNAT\n}\nreal_server 10.0.1.2 80 {\n}",
    );
    let sorry = service("sorry_server 10.0.1.9 8080\nsorry_server_lvs_method FNAT\nladdr_group_name snat");
    for text in [one, sorry] {
        assert_eq!(local(&quiet(&(GROUP.to_owned() + &text))), ["10.0.2.1"], "{text}");
        let without = text.replace("laddr_group_name snat", "");
        assert!(
            refused(&without, &options()).contains("test.conf:1:16: error: `FNAT` without local addresses")
        );
    }
}

#[test]
fn full_nat_changes_ports() {
    let text = full_nat(GROUP).replace("real_server 10.0.1.1 80", "real_server 10.0.1.1 8080");
    assert_eq!(quiet(&text).service.servers[0].id.to_string(), "10.0.1.1:8080");
    let text = full_nat(GROUP).replace("real_server 10.0.1.1 80", "real_server 10.0.1.1");
    assert_eq!(quiet(&text).service.servers[0].id.to_string(), "10.0.1.1:80");
}

#[test]
fn full_nat_without_usable_local_addresses_is_an_error_that_names_the_cure() {
    let group = |lines: &str| format!("local_address_group snat {{\n{lines}\n}}\n");
    let six = |text: String| text.replace("10.0.0.9", "2001:db8::9").replace("10.0.1.1", "2001:db8::1");
    for (text, wanted) in [
        (
            full_nat(GROUP).replace("laddr_group_name snat", ""),
            "test.conf:6:9: error: `FNAT` without local addresses: write `laddr_group_name` with the name of a \
             `local_address_group`, to whose addresses servers answer",
        ),
        (
            full_nat(GROUP).replace("laddr_group_name snat", "laddr_group_name snta"),
            "test.conf:8:18: error: there is no local_address_group `snta`; did you mean `snat`?",
        ),
        (
            full_nat(&group("")),
            "test.conf:8:18: error: local_address_group `snat` has no IPv4 address, by which servers of this service \
             could answer: add one of this director",
        ),
        (full_nat(&group("2001:db8::1")), "`snat` has no IPv4 address"),
        (six(full_nat(GROUP)), "`snat` has no IPv6 address"),
    ] {
        let said = refused(&text, &options());
        assert!(said.contains(wanted), "{text}\n{said}");
    }
}

#[test]
fn lines_of_local_addresses_that_cannot_be_are_left_out() {
    for (line, code) in [
        ("10.0.2.9-3", Code::BadValue),
        ("10.0.0.0/15", Code::BadValue),
        ("fwmark 5", Code::BadValue),
        ("10.0.2.1", Code::Duplicate),
        ("10.0.2.300", Code::BadValue),
        ("224.0.0.1", Code::BadValue),
        ("223.255.255.250-224.0.0.1", Code::BadValue),
        ("255.255.255.255", Code::BadValue),
        ("0.0.0.0-9", Code::BadValue),
        ("ff02::1", Code::BadValue),
        ("fe80::1", Code::BadValue),
    ] {
        let group = format!("local_address_group snat {{\n10.0.2.1\n{line}\n}}\n");
        assert_eq!(local(&amended(&full_nat(&group), code).expect("a service")), ["10.0.2.1"], "{line}");
    }
    let many = full_nat("local_address_group snat {\n10.0.0.0/16\n10.1.0.1\n}\n");
    let planned = amended(&many, Code::BadValue).expect("a service");
    assert_eq!(local(&planned).len(), 65_536);
    let (_, codes) = services(&full_nat("local_address_group snat {\n10.0.2.1 eth0 eth1\n}\n"));
    assert_eq!(codes, [Code::ExtraWords]);
}

#[test]
fn local_addresses_without_full_nat_have_no_effect() {
    let text = GROUP.to_owned() + &service("laddr_group_name snat");
    let planned = amended(&text, Code::Conflict).expect("a service");
    assert!(local(&planned).is_empty());
}

#[test]
fn local_addresses_with_an_interface_are_put_there_where_they_are_used() {
    let group = "local_address_group snat {\n10.0.2.1-2 eth1\n2001:db8::2 eth1\n10.0.2.9\n}\n";
    let planned = plan(&full_nat(group));
    let put: Vec<&Address> = planned.static_addresses.iter().map(|put| &put.item).collect();
    let wanted = [("10.0.2.1", 32), ("10.0.2.2", 32), ("2001:db8::2", 128)]
        .map(|(ip, len)| Address::plain(ip.parse().expect("an address"), len, "eth1".into()));
    assert_eq!(put, wanted.iter().collect::<Vec<_>>());
    assert!(plan(&(group.to_owned() + &service(""))).static_addresses.is_empty());
    let there = "static_ipaddress {\n10.0.2.1/24 dev eth1\n}\n";
    let planned = plan(&(there.to_owned() + &full_nat(group)));
    assert_eq!(planned.static_addresses.len(), 3);
    assert_eq!(planned.static_addresses[0].item.prefix_len, 24);
    let gone = load(&full_nat("local_address_group snat {\n10.0.2.1 gone0\n}\n"));
    assert_eq!(codes(&gone), [Code::MissingInterface]);
}

#[test]
fn schedulers_of_the_engine_become_those_of_the_kernel_where_that_forwards() {
    for (name, own, nearest) in
        [("wdh", Scheduler::Wdh, Scheduler::Dh), ("wsh", Scheduler::Wsh, Scheduler::Sh)]
    {
        let text = service("").replace("lb_algo rr", &format!("lb_algo {name}"));
        for lines in ["", "forwarding auto", "forwarding engine"] {
            assert_eq!(scheduled(&quiet(&(global(lines) + &text))), Some(own), "{lines}");
        }
        let by_kernel = global("forwarding kernel") + &text;
        let planned = amended(&by_kernel, Code::Conflict).expect("a service");
        assert_eq!(scheduled(&planned), Some(nearest));
        assert!(
            said(&load(&by_kernel)).contains(&format!("(assumed: {nearest})")),
            "{}",
            said(&load(&by_kernel))
        );
    }
    let text = service("").replace("lb_algo rr", "lb_algo wsh\nsh-port\nsh-fallback");
    let flags = quiet(&text).service.members[0].flags;
    assert!(flags.flag_1 && flags.flag_2);
}

#[test]
fn full_nat_by_the_kernel_is_an_error_that_names_the_cure() {
    let said = refused(&(global("forwarding kernel") + &full_nat(GROUP)), &options());
    let wanted = "test.conf:9:9: error: `FNAT` is of Buoy's own engine, and `forwarding kernel` has the kernel forward; \
                  write `forwarding auto`, or `NAT` with routes from the servers back here";
    assert!(said.contains(wanted), "{said}");
    assert_eq!(plan(&(global("forwarding engine") + &full_nat(GROUP))).services.len(), 1);
}

#[test]
fn a_service_has_timeouts_of_its_own() {
    let seconds = |n: u64| (n > 0).then(|| Duration::from_secs(n));
    for (protocol, lines, [tcp, tcp_fin, udp]) in [
        ("TCP", "", [0, 0, 0]),
        ("TCP", "conn_timeouts tcp 60 tcpfin 7 udp 30", [60, 7, 30]),
        ("TCP", "conn_timeouts tcpfin 7 tcp 0", [0, 7, 0]),
        ("TCP", "conn_timeout 90", [90, 0, 0]),
        ("UDP", "conn_timeout 90", [0, 0, 90]),
        ("TCP", "conn_timeout 90\nconn_timeouts tcpfin 7", [90, 7, 0]),
        ("TCP", "conn_timeouts tcp 60\nconn_timeout 90", [60, 0, 0]),
    ] {
        let text = service(lines).replace("TCP", protocol);
        let wanted = Timeouts { tcp: seconds(tcp), tcp_fin: seconds(tcp_fin), udp: seconds(udp) };
        assert_eq!(quiet(&text).timeouts, wanted, "{protocol} {lines}");
    }
    let by_mark = service("conn_timeout 90").replace("10.0.0.9 80", "fwmark 5").replace("protocol TCP\n", "");
    assert_eq!(quiet(&by_mark).timeouts, Timeouts { tcp: seconds(90), tcp_fin: None, udp: seconds(90) });
    for (front, text) in [
        (String::new(), service("conn_timeout 90").replace("TCP", "SCTP")),
        (String::new(), service("conn_timeouts udp 9").replace("TCP", "SCTP")),
        (global("forwarding kernel"), service("conn_timeout 90\nconn_timeouts udp 9")),
    ] {
        let planned = amended(&(front + &text), Code::Conflict).expect("a service");
        assert_eq!(planned.timeouts, Timeouts::default(), "{text}");
    }
    for (lines, code) in [
        ("conn_timeout 0", Code::OutOfRange),
        ("conn_timeout 2678401", Code::OutOfRange),
        ("conn_timeouts sctp 5", Code::BadValue),
        ("conn_timeouts tcp 2678401", Code::BadValue),
    ] {
        assert_eq!(codes(&load(&service(lines))), [code], "{lines}");
    }
}

#[test]
fn persistence_engines_are_the_kernels() {
    let text = service("persistence_timeout 5\npersistence_engine sip");
    assert_eq!(services(&(global("forwarding auto") + &text)).1, []);
    let planned = amended(&(global("forwarding engine") + &text), Code::Conflict).expect("a service");
    let persistence = planned.service.members[0].persistence.as_ref().expect("persistence");
    assert_eq!(persistence.engine, None);
}

#[test]
fn checks_by_way_of_the_service_are_not_for_full_nat() {
    let check = "real_server 10.0.1.1 80 {\nTCP_CHECK {\ncheck_vip\n}\n}";
    let text = GROUP.to_owned() + &with_servers("laddr_group_name snat", check).replace("NAT", "FNAT");
    let planned = amended(&text, Code::Conflict).expect("a service");
    assert!(!planned.servers[0].checks[0].settings.probe().expect("a probe").check_vip);
}

#[test]
fn what_only_the_engine_can_offer_is_named_with_its_service() {
    let name = "TCP 10.0.0.9:80";
    for (text, wanted) in [
        (service(""), None),
        (full_nat(GROUP), Some(EngineOnly::FullNat)),
        (
            GROUP.to_owned()
                + &service("sorry_server 10.0.1.9\nsorry_server_lvs_method FNAT\nladdr_group_name snat"),
            Some(EngineOnly::FullNat),
        ),
        (service("").replace("lb_algo rr", "lb_algo wsh"), Some(EngineOnly::Scheduler(Scheduler::Wsh))),
        (service("conn_timeout 5"), Some(EngineOnly::Timeouts)),
    ] {
        let other = service("").replace("10.0.0.9", "10.0.0.8");
        let need = engine_need(&plan(&(other + &text)).services);
        assert_eq!(
            need.map(|need| (need.service.to_string(), need.of)),
            wanted.map(|of| (name.to_owned(), of))
        );
    }
}

#[test]
fn the_example_is_as_its_comments_say() {
    let text = include_str!("../../../etc/engine.conf");
    for (director, first) in [("one", 10), ("two", 20)] {
        let here = LoadOptions { config_id: Some(director), ..options() };
        let loaded = load_text(Path::new("engine.conf"), text, &here);
        let plan = loaded.plan.as_ref().unwrap_or_else(|| panic!("{}", said(&loaded)));
        let forwarding = plan.balancing.forwarding;
        let engine =
            EngineSettings { connections: 262_144, toa: true, secure_tcp: true, ..EngineSettings::default() };
        assert_eq!((forwarding.plane, forwarding.engine), (PlaneChoice::Engine, engine));
        let addresses: Vec<String> = (first..first + 4).map(|n| format!("198.51.100.{n}")).collect();
        assert_eq!(local(&plan.services[0]), addresses);
        let put: Vec<String> = plan.static_addresses.iter().map(|put| put.item.ip.to_string()).collect();
        assert_eq!(put, addresses);
        assert!(plan.services[1].service.members[0].local_addresses.is_empty());
    }
}

#[test]
fn toml_has_the_same_words() {
    let toml = "[global]\nforwarding = \"engine\"\n[global.engine]\nconnections = 65536\ntier = \"portable\"\ntoa = true\n\
                [[local_address_group]]\nname = \"snat\"\nENTRIES = [\"10.0.2.1-2 eth1\"]\n\
                [[virtual_server]]\nservice = \"10.0.0.9 80\"\nlb_algo = \"wdh\"\nlb_kind = \"FNAT\"\n\
                protocol = \"TCP\"\nladdr_group_name = \"snat\"\nconn_timeouts = \"tcp 60 tcpfin 7\"\n\
                [[virtual_server.real_server]]\nserver = \"10.0.1.1 80\"\n"
        .replace("ENTRIES", toml::ENTRIES);
    let conf = global("forwarding engine\nengine {\nconnections 65536\ntier portable\ntoa\n}")
        + "local_address_group snat {\n10.0.2.1-2 eth1\n}\n"
        + &service("laddr_group_name snat\nconn_timeouts tcp 60 tcpfin 7")
            .replace("NAT", "FNAT")
            .replace("rr", "wdh");
    let loaded = load_text(Path::new("test.toml"), &toml, &options());
    assert_eq!(loaded.plan.as_ref(), Some(&plan(&conf)), "{}", said(&loaded));
    let refused = toml.replace("forwarding = \"engine\"", "forwarding = \"kernel\"");
    let refused = load_text(Path::new("test.toml"), &refused, &options());
    assert!(
        said(&refused).contains("test.toml:13:12: error: `FNAT` is of Buoy's own engine"),
        "{}",
        said(&refused)
    );
}
