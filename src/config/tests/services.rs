//! Virtual services: from text to what the reconciler and the checkers take.

use buoy_ipvs::{
    Forwarding, Persistence, Protocol, RealServerId, Scheduler, SchedulerFlags, ServiceId, Tunnel,
    TunnelChecksum,
};

use super::*;
use crate::config::plan::{
    Check, CheckSettings, DnsType, FlushOnStop, HttpVersion, ReplyByte, SyncDaemon, VirtualServer,
};

const SERVER: &str = "real_server 10.0.1.1 80 {\n}";

/// A service that nothing is to be said about, with some lines more and these servers.
pub(super) fn with_servers(more: &str, servers: &str) -> String {
    format!("virtual_server 10.0.0.9 80 {{\nlb_algo rr\nlb_kind NAT\nprotocol TCP\n{more}\n{servers}\n}}\n")
}

pub(super) fn service(more: &str) -> String {
    with_servers(more, SERVER)
}

fn checked(check: &str) -> String {
    with_servers("", &format!("real_server 10.0.1.1 80 {{\n{check}\n}}"))
}

/// The services of a text, with what is said about it; either syntax keeps them.
#[track_caller]
pub(super) fn services(text: &str) -> (Vec<VirtualServer>, Vec<Code>) {
    let loaded = load(text);
    let codes = codes(&loaded);
    for (name, syntax) in [("again.conf", Syntax::Conf), ("there.toml", Syntax::Toml)] {
        let written = loaded.write(syntax);
        let again = load_text(Path::new(name), &written, &options());
        assert_eq!(again.plan, loaded.plan, "{text}\n{written}\n{}\n{}", said(&loaded), said(&again));
    }
    let said = said(&loaded);
    (loaded.plan.unwrap_or_else(|| panic!("no plan:\n{said}")).services, codes)
}

#[track_caller]
pub(super) fn quiet(text: &str) -> VirtualServer {
    let (mut services, codes) = services(text);
    assert_eq!(codes, [], "{text}\n{}", said(&load(text)));
    services.remove(0)
}

/// What a warning of this kind leaves of the service.
#[track_caller]
pub(super) fn amended(text: &str, code: Code) -> Option<VirtualServer> {
    let (services, codes) = services(text);
    assert!(codes.contains(&code), "{text}\n{}", said(&load(text)));
    services.into_iter().next()
}

#[track_caller]
fn the_check(check: &str) -> Check {
    let service = quiet(&checked(check));
    service.servers[0].checks[0].clone()
}

fn address(text: &str) -> std::net::SocketAddr {
    text.parse().expect("address and port")
}

fn id(protocol: Protocol, at: &str) -> ServiceId {
    let at = address(at);
    ServiceId::Address { protocol, address: at.ip(), port: at.port() }
}

fn ids(service: &VirtualServer) -> Vec<String> {
    service.service.members.iter().map(|member| member.id.to_string()).collect()
}

fn servers(service: &VirtualServer) -> Vec<String> {
    service.service.servers.iter().map(|server| server.id.to_string()).collect()
}

#[test]
fn a_plain_service_has_the_defaults_of_keepalived() {
    let planned = quiet(&service(""));
    let service = &planned.service;
    assert_eq!(&*service.name, "TCP 10.0.0.9:80");
    assert_eq!(service.members.len(), 1);
    let member = &service.members[0];
    assert_eq!((member.id, member.scheduler), (id(Protocol::Tcp, "10.0.0.9:80"), Some(Scheduler::Rr)));
    assert_eq!((member.flags, &member.persistence, member.one_packet), (SchedulerFlags::NONE, &None, false));
    assert_eq!((service.quorum, service.hysteresis, service.sorry), (1, 0, None));
    assert_eq!((service.panic_threshold, service.drain_deadline), (0, None));
    let server = &service.servers[0];
    let at = address("10.0.1.1:80");
    assert_eq!(server.id, RealServerId { address: at.ip(), port: at.port() });
    assert_eq!((server.forwarding, server.weight.get()), (Forwarding::Masquerade, 1));
    assert!(!server.alpha && !server.inhibit_on_failure);
    assert!(!planned.smtp_alert && planned.servers[0].smtp_alert && planned.servers[0].checks.is_empty());
    assert!(!planned.ha_suspend && !planned.omega);
}

#[test]
fn what_is_missing_is_said_and_assumed() {
    let text = format!("virtual_server 10.0.0.9 80 {{\n{SERVER}\n}}\n");
    let (services, codes) = services(&text);
    assert_eq!(codes, [Code::MissingSetting; 3]);
    let member = &services[0].service.members[0];
    assert_eq!((member.id, member.scheduler), (id(Protocol::Udp, "10.0.0.9:80"), Some(Scheduler::Wlc)));
    assert_eq!(services[0].service.servers[0].forwarding, Forwarding::Masquerade);
}

#[test]
fn a_service_without_a_usable_server_is_not_offered() {
    assert_eq!(amended(&with_servers("", ""), Code::MissingSetting), None);
    assert_eq!(amended(&with_servers("sorry_server 10.0.1.9", ""), Code::MissingSetting), None);
    assert_eq!(amended(&with_servers("", "real_server fe80::1 80 {\n}"), Code::MissingSetting), None);
}

#[test]
fn schedulers_flags_and_persistence_are_those_written() {
    let flags = |flag_1, flag_2, flag_3| SchedulerFlags { flag_1, flag_2, flag_3 };
    for (lines, wanted) in [
        ("lb_algo sh\nsh-port", flags(false, true, false)),
        ("lb_algo sh\nsh-fallback", flags(true, false, false)),
        ("lb_algo mh\nmh-port\nmh-fallback", flags(true, true, false)),
        ("lb_algo rr\nflag-1\nflag-3", flags(true, false, true)),
    ] {
        let text = service(lines).replace("lb_algo rr\nlb_kind", "lb_kind");
        assert_eq!(quiet(&text).service.members[0].flags, wanted, "{lines}");
    }
    for lines in ["lb_algo rr\nsh-port", "lb_algo sh\nmh-port", "sh-fallback\nlb_algo sh"] {
        let text = service(lines).replace("lb_algo rr\nlb_kind", "lb_kind");
        let planned = amended(&text, Code::Conflict).expect("a service");
        assert_eq!(planned.service.members[0].flags, SchedulerFlags::NONE, "{lines}");
    }
    let persistent = |seconds, prefix_len| {
        Some(Persistence { timeout: Duration::from_secs(seconds), prefix_len, engine: None })
    };
    for (lines, wanted) in [
        ("persistence_timeout", persistent(360, 32)),
        ("persistence_timeout 50", persistent(50, 32)),
        ("persistence_granularity 255.255.255.0", persistent(360, 24)),
        ("persistence_timeout 50\npersistence_granularity 16", persistent(50, 16)),
    ] {
        assert_eq!(quiet(&service(lines)).service.members[0].persistence, wanted, "{lines}");
    }
    let sip = quiet(&service("persistence_timeout 5\npersistence_engine sip"));
    let engine = sip.service.members[0].persistence.as_ref().and_then(|p| p.engine.as_ref());
    assert_eq!(engine.map(|engine| engine.name()), Some("sip"));
    for (lines, code, wanted) in [
        ("persistence_granularity 255.0.255.0", Code::BadValue, None),
        ("persistence_granularity 64", Code::BadValue, None),
        ("persistence_timeout 5.5", Code::OutOfRange, persistent(5, 32)),
        ("persistence_timeout 5\npersistence_engine seventeen-letters", Code::OutOfRange, persistent(5, 32)),
        ("persistence_engine sip", Code::Conflict, None),
    ] {
        let planned = amended(&service(lines), code).expect("a service");
        assert_eq!(planned.service.members[0].persistence, wanted, "{lines}");
    }
}

#[test]
fn a_service_for_every_port_is_persistent() {
    for title in ["10.0.0.9", "10.0.0.9 0"] {
        let text = service("").replace("10.0.0.9 80", title);
        let planned = amended(&text, Code::MissingSetting).expect("a service");
        let persistence = planned.service.members[0].persistence.as_ref();
        assert_eq!(persistence.map(|p| p.timeout), Some(Duration::from_secs(360)), "{title}");
        assert_eq!(servers(&planned), ["10.0.1.1:80"]);
    }
    quiet(&service("persistence_timeout 5").replace("10.0.0.9 80", "10.0.0.9"));
}

#[test]
fn one_packet_is_for_udp_and_marks() {
    assert!(quiet(&service("ops").replace("TCP", "UDP")).service.members[0].one_packet);
    let tcp = amended(&service("ops"), Code::Conflict).expect("a service");
    assert!(!tcp.service.members[0].one_packet);
    let mark = service("ops").replace("10.0.0.9 80", "fwmark 5").replace("protocol TCP\n", "");
    assert!(quiet(&mark).service.members[0].one_packet);
}

#[test]
fn ports_of_real_servers_follow_the_method() {
    for (kind, server, wanted, code) in [
        ("NAT", "10.0.1.1 81", "10.0.1.1:81", None),
        ("NAT", "10.0.1.1", "10.0.1.1:80", None),
        ("NAT", "10.0.1.1 0", "10.0.1.1:80", None),
        ("DR", "10.0.1.1", "10.0.1.1:80", None),
        ("DR", "10.0.1.1 80", "10.0.1.1:80", None),
        ("DR", "10.0.1.1 81", "10.0.1.1:80", Some(Code::Conflict)),
        ("TUN", "10.0.1.1 81", "10.0.1.1:80", Some(Code::Conflict)),
    ] {
        let text = service("").replace("lb_kind NAT", &format!("lb_kind {kind}"));
        let (services, codes) = services(&text.replace("10.0.1.1 80", server));
        assert_eq!(codes.first().copied(), code, "{kind} {server}");
        assert_eq!(servers(&services[0]), [wanted], "{kind} {server}");
    }
    let by_mark = |kind: &str| {
        let text = service("").replace("10.0.0.9 80", "fwmark 5").replace("protocol TCP\n", "");
        services(&text.replace("lb_kind NAT", &format!("lb_kind {kind}")))
    };
    assert_eq!(servers(&by_mark("NAT").0[0]), ["10.0.1.1:80"]);
    let (direct, codes) = by_mark("DR");
    assert_eq!((servers(&direct[0]), codes), (vec!["10.0.1.1:0".to_owned()], vec![Code::Conflict]));
}

#[test]
fn forwarding_methods_have_their_options() {
    let gue = |checksum| Forwarding::Tunnel(Tunnel::Gue { port: 5555, checksum });
    let gre = |checksum| Forwarding::Tunnel(Tunnel::Gre { checksum });
    for (method, wanted, code) in [
        ("NAT", Forwarding::Masquerade, None),
        ("DR", Forwarding::Direct, None),
        ("TUN", Forwarding::Tunnel(Tunnel::Ipip), None),
        ("TUN type gue port 5555", gue(TunnelChecksum::None), None),
        ("TUN type gue port 5555 remcsum", gue(TunnelChecksum::Remote), None),
        ("TUN type gre csum", gre(TunnelChecksum::Full), None),
        ("TUN type gre remcsum", gre(TunnelChecksum::None), Some(Code::Conflict)),
        ("TUN type gre port 5", gre(TunnelChecksum::None), Some(Code::Conflict)),
        ("TUN type ipip csum", Forwarding::Tunnel(Tunnel::Ipip), Some(Code::Conflict)),
        ("TUN type gue", Forwarding::Masquerade, Some(Code::BadValue)),
        ("NAT type gue", Forwarding::Masquerade, Some(Code::ExtraWords)),
    ] {
        let server = format!("real_server 10.0.1.1 80 {{\nlvs_method {method}\n}}");
        let (services, codes) = services(&with_servers("", &server));
        assert_eq!(codes.first().copied(), code, "{method}");
        assert_eq!(services[0].service.servers[0].forwarding, wanted, "{method}");
    }
    let twice = amended(&service("lvs_method DR"), Code::Duplicate).expect("a service");
    assert_eq!(twice.service.servers[0].forwarding, Forwarding::Direct);
    let twice = amended(&service("lvs_sched sed"), Code::Duplicate).expect("a service");
    assert_eq!(twice.service.members[0].scheduler, Some(Scheduler::Sed));
}

#[test]
fn only_tunnels_cross_families() {
    let two = format!("{SERVER}\nreal_server 2001:db8::1 80 {{\n}}");
    let planned = amended(&with_servers("", &two), Code::Conflict).expect("a service");
    assert_eq!(servers(&planned), ["10.0.1.1:80"]);
    let text = with_servers("", &two).replace("NAT", "TUN");
    assert_eq!(servers(&quiet(&text)), ["10.0.1.1:80", "[2001:db8::1]:80"]);
}

#[test]
fn a_repeated_server_or_service_counts_once() {
    for second in ["real_server 10.0.1.1 80 {\n}", "real_server 10.0.1.1 {\n}"] {
        let text = with_servers("", &format!("{SERVER}\n{second}"));
        assert_eq!(amended(&text, Code::Duplicate).expect("a service").service.servers.len(), 1, "{second}");
    }
    let (both, codes) = services(&(service("") + &service("").replace("TCP", "UDP")));
    assert_eq!((both.len(), codes.len()), (2, 0));
    let (one, codes) = services(&(service("quorum 1") + &service("")));
    assert_eq!((one.len(), codes), (1, vec![Code::Duplicate]));
}

#[test]
fn quorum_and_hysteresis_stay_within_the_weights() {
    let weighted = "real_server 10.0.1.1 80 {\nweight 3\n}\nreal_server 10.0.1.2 80 {\n}";
    for (lines, wanted, amended) in [
        ("quorum 3\nhysteresis 2", (3, 2), false),
        ("weight 2\nquorum 5", (5, 0), false),
        ("quorum 9", (4, 0), true),
        ("quorum 3\nhysteresis 3", (3, 2), true),
        ("quorum 9\nhysteresis 9", (4, 3), true),
        ("hysteresis 1", (1, 0), true),
    ] {
        let (services, codes) = services(&with_servers(lines, weighted));
        assert_eq!(codes.contains(&Code::OutOfRange), amended, "{lines}");
        assert_eq!((services[0].service.quorum, services[0].service.hysteresis), wanted, "{lines}");
    }
}

#[test]
fn thresholds_that_the_kernel_refuses_are_dropped() {
    for (lines, wanted, amended) in [
        ("uthreshold 9\nlthreshold 5", (9, 5), false),
        ("uthreshold 9", (9, 0), false),
        ("uthreshold 5\nlthreshold 9", (5, 0), true),
        ("lthreshold 9", (0, 0), true),
    ] {
        let server = format!("real_server 10.0.1.1 80 {{\n{lines}\n}}");
        let (services, codes) = services(&with_servers("", &server));
        let server = &services[0].service.servers[0];
        assert_eq!((server.upper_threshold, server.lower_threshold), wanted, "{lines}");
        assert_eq!(codes.contains(&Code::Conflict), amended, "{lines}");
    }
}

#[test]
fn the_sorry_server_follows_the_rules_of_real_servers() {
    let sorry = quiet(&service("sorry_server 10.0.1.9 8080\nsorry_server_inhibit")).service.sorry;
    let sorry = sorry.expect("a sorry server");
    assert_eq!((sorry.id.port, sorry.forwarding, sorry.inhibit), (8080, Forwarding::Masquerade, true));
    let direct = service("sorry_server 10.0.1.9 8080\nsorry_server_lvs_method DR");
    let sorry = amended(&direct, Code::Conflict).expect("a service").service.sorry.expect("a sorry server");
    assert_eq!((sorry.id.port, sorry.forwarding), (80, Forwarding::Direct));
    for lines in ["sorry_server fe80::1", "sorry_server_inhibit", "sorry_server_lvs_method DR"] {
        let planned = amended(&service(lines), Code::Conflict).expect("a service");
        assert_eq!(planned.service.sorry, None, "{lines}");
    }
}

#[test]
fn groups_stand_for_all_their_members() {
    let group = |members: &str| format!("virtual_server_group g {{\n{members}\n}}\n");
    let of_group = service("").replace("10.0.0.9 80", "group g");
    let planned = quiet(&(group("10.0.0.1 80\n10.0.0.2-3 80\n10.0.0.8/31 443\nfwmark 7") + &of_group));
    assert_eq!(&*planned.service.name, "g TCP");
    assert_eq!(
        ids(&planned),
        [
            "TCP 10.0.0.1:80",
            "TCP 10.0.0.2:80",
            "TCP 10.0.0.3:80",
            "TCP 10.0.0.8:443",
            "TCP 10.0.0.9:443",
            "FWM 7"
        ]
    );
    let mixed = group("10.0.0.1 80\n2001:db8::1-2 80\nfwmark 7 inet6") + &of_group;
    assert_eq!(amended(&mixed, Code::Conflict), None);
    let tunnelled = quiet(&mixed.replace("NAT", "TUN"));
    assert_eq!(ids(&tunnelled)[2..], ["TCP [2001:db8::2]:80", "FWM 7 IPv6"]);
    for (members, code) in [
        ("10.0.0.9-3 80\n10.0.0.1 80", Code::BadValue),
        ("10.0.0.0/8 80\n10.0.0.1 80", Code::BadValue),
        ("2001:db8::/64 80\n10.0.0.1 80", Code::BadValue),
    ] {
        let planned = amended(&(group(members) + &of_group), code).expect("a service");
        assert_eq!(ids(&planned), ["TCP 10.0.0.1:80"], "{members}");
    }
    assert_eq!(amended(&(group("") + &of_group), Code::MissingSetting), None);
    let direct = of_group.replace("NAT", "DR").replace("1.1 80", "1.1 81");
    let planned = amended(&(group("10.0.0.1 80") + &direct), Code::Conflict).expect("a service");
    assert_eq!(servers(&planned), ["10.0.1.1:0"]);
    let shared = group("10.0.0.1 80\n10.0.0.9 80") + &service("") + &of_group;
    let (both, codes) = services(&shared);
    assert_eq!((ids(&both[1]), codes), (vec!["TCP 10.0.0.1:80".to_owned()], vec![Code::Duplicate]));
}

#[test]
fn the_addresses_of_all_services_are_bounded() {
    let mut text = String::new();
    for group in 0..6 {
        text.push_str(&format!("virtual_server_group g{group} {{\n10.{group}.0.0/16 80\n}}\n"));
        text.push_str(&service("").replace("10.0.0.9 80", &format!("group g{group}")));
    }
    let loaded = load(&text);
    assert!(codes(&loaded).contains(&Code::OutOfRange));
    assert_eq!(loaded.plan.map(|plan| plan.services.len()), Some(4));
}

#[test]
fn marks_have_the_family_that_is_said_or_that_of_the_servers() {
    let marked = service("").replace("10.0.0.9 80", "fwmark 5").replace("protocol TCP\n", "");
    let six = marked.replace("10.0.1.1", "2001:db8::5");
    assert_eq!(ids(&quiet(&marked)), ["FWM 5"]);
    assert_eq!(ids(&quiet(&six)), ["FWM 5 IPv6"]);
    let said = six.replace("NAT", "TUN type gre\nip_family inet").replace("8::5 80", "8::5");
    assert_eq!(ids(&quiet(&said)), ["FWM 5"]);
    amended(&service("ip_family inet6"), Code::Conflict).expect("a service");
    amended(&service("").replace("10.0.0.9 80", "fwmark 5"), Code::Conflict).expect("a service");
}

#[test]
fn what_needs_an_address_is_for_single_addresses() {
    assert!(quiet(&service("ha_suspend")).ha_suspend);
    let marked = service("ha_suspend").replace("10.0.0.9 80", "fwmark 5").replace("protocol TCP\n", "");
    assert!(!amended(&marked, Code::Conflict).expect("a service").ha_suspend);
}

#[test]
fn mails_have_the_defaults_of_their_kind_unless_somebody_says_otherwise() {
    let global = |words: &str| format!("global_defs {{\n{words}\n}}\n");
    for (words, own, wanted) in [
        ("", "", (false, true)),
        ("smtp_alert off", "", (false, false)),
        ("smtp_alert", "", (true, true)),
        ("smtp_alert\nsmtp_alert_checker off", "", (false, false)),
        ("smtp_alert_checker", "smtp_alert off", (false, true)),
    ] {
        let planned = quiet(&(global(words) + &service(own)));
        assert_eq!((planned.smtp_alert, planned.servers[0].smtp_alert), wanted, "{words} {own}");
    }
}

#[test]
fn commands_and_own_words_are_there() {
    let planned = quiet(&with_servers(
        "omega\nquorum_up \"/bin/echo up\"\nquorum_down /bin/false\npanic_threshold 30\ndrain_deadline 90",
        "real_server 10.0.1.1 80 {\nnotify_up /bin/up\nnotify_down \"/bin/down now\"\n}",
    ));
    let argv = |command: &Option<crate::config::plan::Command>| {
        command.as_ref().map(|c| c.argv.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    assert!(planned.omega);
    assert_eq!(argv(&planned.quorum_up).as_deref(), Some("/bin/echo up"));
    assert_eq!(argv(&planned.quorum_down).as_deref(), Some("/bin/false"));
    assert_eq!(argv(&planned.servers[0].notify_up).as_deref(), Some("/bin/up"));
    assert_eq!(argv(&planned.servers[0].notify_down).as_deref(), Some("/bin/down now"));
    assert_eq!(planned.service.panic_threshold, 30);
    assert_eq!(planned.service.drain_deadline, Some(Duration::from_secs(90)));
    let global = "global_defs {\npanic_threshold 20\ndrain_deadline 60\n}\n".to_owned();
    let planned = quiet(&(global + &service("")));
    assert_eq!(
        (planned.service.panic_threshold, planned.service.drain_deadline),
        (20, Some(Duration::from_secs(60)))
    );
}

#[test]
fn the_pace_of_checks_is_inherited() {
    let seconds = Duration::from_secs;
    for (vs, rs, check, wanted) in [
        ("", "", "TCP_CHECK {\n}", (60, 1, 1, 60)),
        ("", "", "HTTP_GET {\nurl {\npath /\n}\n}", (60, 1, 3, 60)),
        ("", "", "DNS_CHECK {\n}", (60, 3, 60, 60)),
        ("", "", "MISC_CHECK {\nmisc_path /bin/true\n}", (60, 0, 1, 60)),
        ("delay_loop 6", "", "DNS_CHECK {\n}", (6, 3, 6, 6)),
        ("delay_loop 6\nretry 4\nwarmup 0", "", "TCP_CHECK {\n}", (6, 4, 1, 0)),
        (
            "delay_loop 6",
            "delay_loop 7\ndelay_before_retry 2",
            "HTTP_GET {\nurl {\npath /\n}\n}",
            (7, 1, 2, 7),
        ),
        ("retry 4", "retry 5", "TCP_CHECK {\nretry 0\nwarmup 3\n}", (60, 0, 1, 3)),
        ("", "", "HTTP_GET {\nnb_get_retry 7\nurl {\npath /\n}\n}", (60, 7, 3, 60)),
    ] {
        let text = with_servers(vs, &format!("real_server 10.0.1.1 80 {{\n{rs}\n{check}\n}}"));
        let (services, _) = services(&text);
        let check = &services[0].servers[0].checks[0];
        let (delay_loop, retry, pause, warmup) = wanted;
        assert_eq!((check.delay_loop, check.retry), (seconds(delay_loop), retry), "{text}");
        assert_eq!((check.delay_before_retry, check.warmup), (seconds(pause), seconds(warmup)), "{text}");
    }
    let check = the_check("TCP_CHECK {\nrise 2\nfall 3\nlog_all_failures\n}");
    assert_eq!((check.rise, check.retry, check.log_all_failures), (2, 2, true));
    assert_eq!(the_check("retry 5\nDNS_CHECK {\nfall 1\n}").retry, 0);
    let retries = |check: &str, code| {
        let planned = amended(&checked(check), code).expect("a service");
        planned.servers[0].checks.iter().map(|check| check.retry).collect::<Vec<_>>()
    };
    assert_eq!(retries("TCP_CHECK {\nretry 7\nfall 2\n}", Code::Conflict), [1]);
    let hosts = "SMTP_CHECK {\nretry 4\nhost {\nfall 9\n}\nhost {\n}\n}";
    assert_eq!(retries(hosts, Code::Deprecated), [8, 4]);
}

#[test]
fn alpha_is_that_of_the_innermost_that_speaks() {
    for (vs, rs, check, wanted) in [
        ("", "", "", false),
        ("alpha", "", "", true),
        ("alpha", "alpha off", "", false),
        ("alpha", "alpha off", "alpha", true),
        ("", "alpha", "alpha off", false),
    ] {
        let server = format!("real_server 10.0.1.1 80 {{\n{rs}\nTCP_CHECK {{\n{check}\n}}\n}}");
        let planned = quiet(&with_servers(vs, &server));
        assert_eq!(planned.servers[0].checks[0].alpha, wanted);
        assert_eq!(planned.service.servers[0].alpha, wanted);
    }
    assert!(!quiet(&service("alpha")).service.servers[0].alpha, "nothing would ever call it up");
}

#[test]
fn probes_go_where_they_are_told_to() {
    let text = with_servers("connect_timeout 4", "real_server 10.0.1.1 80 {\nTCP_CHECK {\n}\n}");
    let check = &quiet(&text).servers[0].checks[0];
    let probe = check.settings.probe().expect("a probe");
    assert_eq!((probe.address, probe.port), (IpAddr::from([10, 0, 1, 1]), 80));
    assert_eq!((probe.connect_timeout, probe.mark, probe.check_vip), (Duration::from_secs(4), 0, false));
    let words = "connect_ip 10.0.2.1\nconnect_port 81\nbindto 10.0.2.9\nbind_port 5\nbind_if eth0\nfwmark 7\n\
                 connect_timeout 0.5";
    let check = the_check(&format!("TCP_CHECK {{\n{words}\n}}"));
    let probe = check.settings.probe().expect("a probe");
    assert_eq!((probe.address, probe.port), (IpAddr::from([10, 0, 2, 1]), 81));
    assert_eq!((probe.bind_address, probe.bind_port), (Some(IpAddr::from([10, 0, 2, 9])), Some(5)));
    assert_eq!((probe.bind_interface.as_deref(), probe.mark), (Some("eth0"), 7));
    assert_eq!(probe.connect_timeout, Duration::from_millis(500));
    let none = |text: &str, code| amended(text, code).expect("a service").servers[0].checks.is_empty();
    assert!(!none(&checked("TCP_CHECK {\nbindto fe80::1\n}"), Code::Conflict));
    assert!(none(&checked("TCP_CHECK {\nconnect_ip fe80::1\n}"), Code::MissingSetting));
    assert!(!none(&checked("TCP_CHECK {\ncheck_vip\n}"), Code::Conflict));
    let direct = checked("TCP_CHECK {\ncheck_vip\n}").replace("NAT", "DR");
    assert!(quiet(&direct).servers[0].checks[0].settings.probe().expect("a probe").check_vip);
    let direct = |check: &str| checked(check).replace("NAT", "DR");
    for lines in ["TCP_CHECK {\ncheck_vip\nconnect_ip 10.0.2.2\n}", "TCP_CHECK {\nfwmark 7\ncheck_vip\n}"] {
        let planned = amended(&direct(lines), Code::Conflict).expect("a service");
        let probe = planned.servers[0].checks[0].settings.probe().expect("a probe");
        assert_eq!((probe.address.to_string().as_str(), probe.mark, probe.check_vip), ("10.0.1.1", 0, true));
    }
    let echo = amended(&direct("PING_CHECK {\ncheck_vip\n}"), Code::Conflict).expect("a service");
    assert!(!echo.servers[0].checks[0].settings.probe().expect("a probe").check_vip);
    let direct = direct("TCP_CHECK {\ncheck_vip\n}");
    let marked =
        direct.replace("10.0.0.9 80", "fwmark 5").replace("protocol TCP\n", "").replace("1.1 80", "1.1");
    assert!(none(&marked, Code::MissingSetting));
}

#[test]
fn http_checks_have_their_pages() {
    let check = the_check(
        "virtualhost rs.example\nSSL_GET {\nenable_sni\nhttp_protocol 1.0c\nfast_recovery\n\
         url {\npath /a\nstatus_code 200-204 301\ndigest 640205B7B0FC66C1EA91C463FAC6334D\n}\n\
         url {\npath /b\nvirtualhost b.example\nregex ^x\nregex_no_match\nregex_options caseless\n\
         regex_min_offset 5\n}\n}",
    );
    let CheckSettings::Http(http) = &check.settings else { panic!("not HTTP") };
    assert!(http.tls && http.fast_recovery);
    assert_eq!(http.version, HttpVersion::Http10Close);
    let [a, b] = http.pages.as_slice() else { panic!("not two pages") };
    assert_eq!((&*a.path, a.status_codes.as_slice()), ("/a", [(200, 204), (301, 301)].as_slice()));
    assert_eq!(a.digest.as_deref(), Some("640205b7b0fc66c1ea91c463fac6334d"));
    assert_eq!(
        (a.virtualhost.as_deref(), a.server_name.as_deref()),
        (Some("rs.example"), Some("rs.example"))
    );
    assert_eq!(
        (b.virtualhost.as_deref(), b.status_codes.as_slice()),
        (Some("b.example"), [(200, 299)].as_slice())
    );
    let pattern = b.regex.as_ref().expect("a pattern");
    assert_eq!((&*pattern.pattern, pattern.no_match, pattern.min_offset), ("^x", true, 5));
    assert_eq!(pattern.options.iter().map(|o| &**o).collect::<Vec<_>>(), ["caseless"]);
    let named = the_check("SSL_GET {\nsni_name s.example\nurl {\npath /\nvirtualhost v.example\n}\n}");
    let CheckSettings::Http(http) = &named.settings else { panic!("not HTTP") };
    assert_eq!(http.pages[0].server_name.as_deref(), Some("s.example"));
    for lines in [
        "enable_sni\nurl {\npath /\n}",
        "url {\npath /\nregex_no_match\n}",
        "tls_compliant\nurl {\npath /\n}",
    ] {
        amended(&checked(&format!("HTTP_GET {{\n{lines}\n}}")), Code::Conflict).expect("a service");
    }
    let none = amended(&checked("HTTP_GET {\n}"), Code::MissingSetting).expect("a service");
    assert!(none.servers[0].checks.is_empty());
}

#[test]
fn every_host_of_an_smtp_check_is_a_check() {
    let text = checked(
        "SMTP_CHECK {\nhelo_name me\nretry 4\nconnect_port 25\nhost {\nconnect_ip 10.0.1.7\n}\n\
         host {\nconnect_port 587\nretry 2\n}\n}",
    );
    let planned = amended(&text, Code::Deprecated).expect("a service");
    let checks: Vec<_> = planned.servers[0]
        .checks
        .iter()
        .map(|check| (check.settings.probe().map(|p| (p.address.to_string(), p.port)), check.retry))
        .collect();
    let at = |ip: &str, port| Some((ip.to_owned(), port));
    assert_eq!(checks, [(at("10.0.1.7", 25), 4), (at("10.0.1.1", 587), 2)]);
    let CheckSettings::Smtp { helo_name, .. } = the_check("SMTP_CHECK {\n}").settings else {
        panic!("not SMTP")
    };
    assert_eq!(&*helo_name, "smtpchecker.keepalived.org");
}

#[test]
fn the_other_checks_have_their_words() {
    let dns = the_check("DNS_CHECK {\ntype aaaa\nname example.net\n}").settings;
    assert!(matches!(dns, CheckSettings::Dns { query: DnsType::Aaaa, name, .. } if &*name == "example.net"));
    let dns = the_check("DNS_CHECK {\n}").settings;
    assert!(matches!(dns, CheckSettings::Dns { query: DnsType::Soa, name, .. } if &*name == "."));
    let misc =
        the_check("MISC_CHECK {\nmisc_path \"/bin/x -a 'b c'\"\nmisc_timeout 7\nmisc_dynamic\nuser root\n}");
    let CheckSettings::Misc { command, timeout, dynamic } = misc.settings else { panic!("not MISC") };
    assert_eq!(command.argv.iter().map(|a| &**a).collect::<Vec<_>>(), ["/bin/x", "-a", "b c"]);
    assert_eq!((timeout, dynamic), (Duration::from_secs(7), true));
    assert_eq!(command.user.map(|user| user.uid), Some(0));
    let udp = the_check("UDP_CHECK {\npayload 0aFF\nrequire_reply x1 0x\nmin_reply_length 1\n}").settings;
    let CheckSettings::Udp(udp) = udp else { panic!("not UDP") };
    assert_eq!(udp.payload.as_deref(), Some([0x0a, 0xff].as_slice()));
    let reply = [ReplyByte { value: 1, mask: 0x0f }, ReplyByte { value: 0, mask: 0xf0 }];
    assert_eq!(udp.reply.as_deref(), Some(reply.as_slice()));
    assert_eq!((udp.min_reply_length, udp.max_reply_length), (1, 255));
    for (lines, code) in [
        ("payload 0", Code::BadValue),
        ("payload 0x", Code::BadValue),
        ("require_reply 012", Code::BadValue),
        ("min_reply_length 9\nmax_reply_length 8", Code::Conflict),
        ("min_reply_length 900", Code::Conflict),
    ] {
        amended(&checked(&format!("UDP_CHECK {{\n{lines}\n}}")), code).expect("a service");
    }
    assert!(matches!(the_check("PING_CHECK {\n}").settings, CheckSettings::Ping { .. }));
    let agent = the_check("AGENT_CHECK {\nconnect_port 9777\nsend \"hello there\"\n}").settings;
    let CheckSettings::Agent { probe, send } = agent else { panic!("not an agent") };
    assert_eq!((probe.port, send.as_deref()), (9777, Some("hello there")));
}

#[test]
fn file_checks_have_the_weight_of_their_file() {
    let file = |weight: &str, check: &str| {
        let text = checked(&format!("FILE_CHECK {{\ntrack_file f\n{check}\n}}"));
        let planned = quiet(&(format!("track_file f {{\nfile /f\n{weight}\n}}\n") + &text));
        let CheckSettings::File { weight, reverse, .. } = planned.servers[0].checks[0].settings else {
            panic!("not a file");
        };
        (weight, reverse)
    };
    assert_eq!(file("", ""), (1, false));
    assert_eq!(file("weight 5 reverse", ""), (5, true));
    assert_eq!(file("weight 5", "weight -1000 reverse"), (-1000, true));
    let none = amended(
        &("track_file f {\n}\n".to_owned() + &checked("FILE_CHECK {\ntrack_file f\n}")),
        Code::Undefined,
    );
    assert!(none.expect("a service").servers[0].checks.is_empty());
}

#[test]
fn what_holds_for_all_services_is_typed() {
    let balancing = |words: &str, more: &str| {
        let loaded = load(&format!("global_defs {{\n{words}\n}}\n{more}"));
        assert_eq!(codes(&loaded), [], "{words}\n{}", said(&loaded));
        loaded.plan.expect("a plan").balancing
    };
    let all = balancing(
        "lvs_timeouts tcp 900 udp 60\nlvs_flush\nlvs_flush_on_stop VS\nlvs_notify_fifo /run/f\n\
         checker_log_all_failures\nno_checker_emails\nrs_init_notifies\nchecker_rt_priority 20",
        "SSL {\nca /ca\npassword sEcReT\n}\n",
    );
    assert_eq!((all.timeouts.tcp, all.timeouts.tcp_fin), (Some(Duration::from_secs(900)), None));
    assert_eq!((all.flush, all.flush_on_stop), (true, FlushOnStop::Services));
    assert!(all.log_all_failures && all.no_checker_emails && all.rs_init_notifies);
    assert_eq!(all.notify_fifo.as_ref().map(|fifo| fifo.path.as_path()), Some(Path::new("/run/f")));
    assert_eq!((all.scheduling.rt_priority, all.tls.ca.as_deref()), (Some(20), Some("/ca")));
    assert!(!format!("{all:?}").contains("sEcReT"));
    assert_eq!(balancing("lvs_flush_on_stop", "").flush_on_stop, FlushOnStop::All);
    let alone = load("SSL {\nkey /key\n}\n");
    assert_eq!(codes(&alone), [Code::Conflict], "{}", said(&alone));
    let sync = |words: &str| balancing(words, &instance("")).sync_daemon.expect("a daemon");
    let plain = SyncDaemon {
        interface: "eth0".into(),
        instance: None,
        sync_id: 0,
        max_len: None,
        group: None,
        port: None,
        ttl: None,
    };
    assert_eq!(sync("lvs_sync_daemon eth0"), plain);
    let follows = SyncDaemon { instance: Some("VI".into()), sync_id: 5, ..plain.clone() };
    assert_eq!(sync("lvs_sync_daemon eth0 VI"), follows);
    assert_eq!(sync("lvs_sync_daemon eth0 inst VI id 9 maxlen 900").sync_id, 9);
    let told = sync("lvs_sync_daemon eth0 port 5 ttl 3 group 239.0.0.1");
    assert_eq!((told.port, told.ttl), (Some(5), Some(3)));
    assert_eq!(told.group, Some([239, 0, 0, 1].into()));
}

#[test]
fn the_file_of_the_corpus_has_this_plan() {
    let text = include_str!("../../../tests/config/services.conf");
    let (services, codes) = services(text);
    assert_eq!(codes, []);
    let [web, mark] = services.as_slice() else { panic!("not two services") };
    assert_eq!(&*web.service.name, "web TCP");
    // One, eight, fifteen and sixteen addresses, and a mark.
    assert_eq!(web.service.members.len(), 41);
    let tunnel = Forwarding::Tunnel(Tunnel::Gue { port: 5555, checksum: TunnelChecksum::Full });
    assert_eq!((web.service.quorum, web.service.servers.len()), (2, 2));
    assert!(web.service.servers.iter().all(|server| server.forwarding == tunnel));
    assert_eq!(web.service.sorry.map(|sorry| sorry.forwarding), Some(tunnel));
    let checks: Vec<usize> = web.servers.iter().map(|server| server.checks.len()).collect();
    assert_eq!(checks, [2, 2]);
    assert_eq!(&*mark.service.name, "FWM 7");
    assert_eq!(servers(mark), ["10.0.0.3:0"]);
    assert!(mark.omega && mark.service.servers[0].alpha);
    assert_eq!(mark.servers().map(|(_, beside)| beside.checks.len()).sum::<usize>(), 2);
}

const TITLES: &[&str] =
    &["10.0.0.9 80", "10.0.0.9", "2001:db8::9 80", "fwmark 5", "group g", "group h", "group none"];
const GROUPS: &str = "virtual_server_group g {\n10.0.0.9 80\n10.0.0.2-4\nfwmark 5\n10.0.0.8-2 80\n}\n\
                      virtual_server_group h {\n10.0.0.3 80\n2001:db8::9 80\n2001:db8::/120 443\nfwmark 6 inet6\n}\n\
                      track_file f {\nfile /f\n}\ntrack_file useless {\n}\n";
const OF_SERVICE: &[&str] = &[
    "protocol TCP",
    "protocol UDP",
    "ip_family inet6",
    "lb_algo sh",
    "lvs_sched mh",
    "lb_kind NAT",
    "lb_kind DR",
    "lvs_method TUN type gre csum",
    "lvs_method TUN type gue",
    "persistence_timeout",
    "persistence_timeout 7.5",
    "persistence_granularity 255.255.0.0",
    "persistence_granularity 64",
    "persistence_engine sip",
    "ops",
    "sh-port",
    "mh-fallback",
    "ha_suspend",
    "alpha",
    "quorum 3",
    "hysteresis 2",
    "quorum_up \"/bin/echo 'a b'\" root",
    "weight 2",
    "sorry_server 10.0.1.2 81",
    "sorry_server fe80::1",
    "sorry_server_inhibit",
    "sorry_server_lvs_method TUN type ipip csum",
    "retry 4",
    "panic_threshold 50",
];
const SERVERS: &[&str] =
    &["10.0.1.1 80", "10.0.1.1", "10.0.1.1 81", "10.0.1.2", "2001:db8::1 80", "fe80::1 0"];
const OF_SERVER: &[&str] = &[
    "weight 0",
    "lvs_method DR",
    "lb_kind TUN",
    "uthreshold 5",
    "lthreshold 6",
    "alpha off",
    "notify_up /bin/true nosuch",
    "TCP_CHECK {\ncheck_vip\nbindto 10.0.3.3\n}",
    "HTTP_GET {\nenable_sni\nurl {\npath /\nregex_min_offset 5\nregex_stack 5 6\n}\n}",
    "SSL_GET {\nurl {\npath \"/a b\"\nregex \"x # y\"\nstatus_code 200-204 301\n}\n}",
    "SMTP_CHECK {\nbindto fe80::7\nhost {\nconnect_port 5\n}\nhost {\nalpha\n}\n}",
    "DNS_CHECK {\ntype mx\n}",
    "MISC_CHECK {\nmisc_path \"/bin/x 'y z'\" more\nuser nosuch\n}",
    "UDP_CHECK {\npayload 0x\nrequire_reply 01 2\nmin_reply_length 300\n}",
    "PING_CHECK {\nbind_if gone0\n}",
    "FILE_CHECK {\ntrack_file f\nweight 5 reverse\n}",
    "FILE_CHECK {\ntrack_file useless\n}",
    "AGENT_CHECK {\nsend \"a b\"\n}",
];

proptest::proptest! {
    /// Whatever is amended, dropped or assumed: what is written of it has the same plan in both syntaxes.
    #[test]
    fn services_keep_their_plan_in_either_syntax(
        of in proptest::collection::vec(
            (
                0..TITLES.len(),
                proptest::collection::vec(0..OF_SERVICE.len(), 0..8),
                proptest::collection::vec(
                    (0..SERVERS.len(), proptest::collection::vec(0..OF_SERVER.len(), 0..4)),
                    0..4,
                ),
            ),
            1..4,
        ),
    ) {
        let mut text = GROUPS.to_owned();
        for (title, lines, servers) in of {
            text.push_str(&format!("virtual_server {} {{\n", TITLES[title]));
            for line in lines {
                text.push_str(&format!("{}\n", OF_SERVICE[line]));
            }
            for (server, lines) in servers {
                text.push_str(&format!("real_server {} {{\n", SERVERS[server]));
                for line in lines {
                    text.push_str(&format!("{}\n", OF_SERVER[line]));
                }
                text.push_str("}\n");
            }
            text.push_str("}\n");
        }
        services(&text);
    }
}

/// What is said, each with its place and what is assumed.
fn told(text: &str, options: &LoadOptions<'_>) -> Vec<String> {
    let loaded = load_text(Path::new("test.conf"), text, options);
    assert!(loaded.plan.is_some(), "{}", said(&loaded));
    said(&loaded).lines().map(str::to_owned).collect()
}

#[test]
fn a_pattern_that_cannot_be_used_is_told_in_its_place_and_the_check_stays() {
    let check = |lines: &str| checked(&format!("HTTP_GET {{\nurl {{\npath /\n{lines}\n}}\n}}"));
    for (lines, expected) in [
        (
            "regex (a",
            "test.conf:10:7: warning: regex \"(a\": unclosed group (assumed: the check is not made)",
        ),
        (
            "regex_options caseless alt_bsux\nregex a",
            "test.conf:10:24: warning: regex option `alt_bsux`, which gives the pattern another grammar than is known \
             here (assumed: the check is not made)",
        ),
    ] {
        assert_eq!(told(&check(lines), &options()), [expected]);
        let (services, _) = services(&check(lines));
        assert_eq!(services[0].servers[0].checks.len(), 1);
    }
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_where_it_is_named_if_a_check_needs_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("empty.pem");
    std::fs::write(&path, "").expect("a file");
    let path = path.display();
    let ssl = format!("SSL {{\nca {path}\n}}\n");
    let here = LoadOptions { inspect_files: true, ..options() };
    let text = format!("{ssl}{}", checked("SSL_GET {\nurl {\npath /\n}\n}"));
    let expected = format!(
        "test.conf:2:4: warning: `SSL`: ca {path}: no certificate in it, which has to be PEM (assumed: no SSL_GET is \
         made)"
    );
    assert_eq!(told(&text, &here), [expected]);
    assert_eq!(told(&format!("{ssl}{}", checked("TCP_CHECK {\n}")), &here), [""; 0]);
    let strict = LoadOptions { strict: true, ..here };
    assert!(load_text(Path::new("test.conf"), &text, &strict).plan.is_none());
}
