//! From text to plan: defaults, rules between settings, severities.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use buoy_vrrp::{Authentication, Family, Preempt, Priority, StartState, Target, Transport, Version};

use super::plan::Router;
use super::schema::{Block, Content, Form, ROOT, Support, Title};
use super::*;
use crate::host::desired::{Insert, RuleAction};

mod forwarding;
mod oddities;
mod services;

fn options<'a>() -> LoadOptions<'a> {
    LoadOptions {
        config_id: Some("here"),
        strict: false,
        known_interface: &|name| name != "gone0",
        inspect_files: false,
        all_include_checks: false,
    }
}

fn load(text: &str) -> Loaded {
    load_text(Path::new("test.conf"), text, &options())
}

fn codes(loaded: &Loaded) -> Vec<Code> {
    loaded.findings.iter().filter(|f| f.severity > Severity::Note).map(|f| f.code).collect()
}

fn said(loaded: &Loaded) -> String {
    lines(&loaded.findings, &loaded.sources).join("\n")
}

/// An instance with everything it needs, and some lines more.
fn instance(more: &str) -> String {
    format!(
        "vrrp_instance VI {{\ninterface eth0\nvirtual_router_id 5\n{more}\nvirtual_ipaddress {{\n10.0.0.1/24\n}}\n}}\n"
    )
}

#[track_caller]
fn router(text: &str) -> Router {
    let loaded = load(text);
    let said = said(&loaded);
    let mut plan = loaded.plan.unwrap_or_else(|| panic!("no plan:\n{said}"));
    plan.routers.remove(0)
}

#[track_caller]
fn quiet_router(text: &str) -> Router {
    let loaded = load(text);
    assert_eq!(codes(&loaded), [], "{}", said(&loaded));
    router(text)
}

#[test]
fn defaults_are_those_of_keepalived() {
    let router = quiet_router(&instance(""));
    let election = &router.election;
    assert_eq!(election.vrid.get(), 5);
    assert_eq!((election.family, election.version), (Family::V4, Version::V2));
    assert_eq!((election.priority, election.start), (Priority::DEFAULT, StartState::Backup));
    assert_eq!(election.advert_interval, Duration::from_secs(1));
    assert_eq!((election.preempt, election.down_timer_adverts), (Preempt::Yes, 3));
    assert_eq!(election.transport, Transport::Multicast { group: IpAddr::from([224, 0, 0, 18]) });
    assert_eq!((election.garp.repeat, election.garp.delay), (5, Duration::from_secs(5)));
    assert_eq!((election.garp.lower_prio_repeat, election.garp.refresh_repeat), (5, 1));
    assert_eq!(election.vip_lease, Some(Duration::from_secs(10)));
    assert!(election.make_before_break && router.accept);
    assert_eq!(&*router.addresses[0].dev, "eth0");
    assert!(router.addresses[0].tracked && !router.addresses[0].dad);
}

#[test]
fn state_and_priority_imply_each_other() {
    for (text, priority, start) in [
        ("state MASTER", 255, StartState::Master),
        ("priority 255", 255, StartState::Master),
        ("state MASTER\npriority 150", 150, StartState::Master),
        ("state BACKUP\npriority 255", 255, StartState::Backup),
        ("state BACKUP", 100, StartState::Backup),
    ] {
        let router = quiet_router(&instance(text));
        assert_eq!((router.election.priority.get(), router.election.start), (priority, start), "{text}");
    }
}

#[test]
fn a_bad_priority_is_a_hundred_even_for_a_master() {
    for text in ["state MASTER\npriority 0", "state MASTER\npriority 256", "state MASTER\npriority x"] {
        assert_eq!(router(&instance(text)).election.priority, Priority::DEFAULT, "{text}");
    }
}

#[test]
fn oddities_that_keepalived_survives_are_warnings_with_a_plan() {
    for (text, code) in [
        ("prioritx 5", Code::UnknownWord),
        ("unknown {\na\n}", Code::UnknownBlock),
        ("priority 300", Code::OutOfRange),
        ("priority 5x", Code::BadValue),
        ("priority 5 6", Code::ExtraWords),
        ("priority 5\npriority 6", Code::Duplicate),
        ("state Master", Code::BadValue),
        ("smtp_alert TRUE", Code::BadValue),
        ("nopreempt\nstate MASTER", Code::Conflict),
        ("preempt_delay 5\npriority 255", Code::Conflict),
        ("nopreempt\npreempt", Code::Conflict),
        ("authentication {\nauth_type PASS\n}", Code::MissingSetting),
        ("authentication {\nauth_type PASS\nauth_pass 123456789\n}", Code::OutOfRange),
        ("version 3\nauthentication {\nauth_type PASS\nauth_pass 1\n}", Code::Conflict),
        ("advert_int 0.3", Code::OutOfRange),
        ("version 3\nadvert_int 0.015", Code::OutOfRange),
        ("track_script {\nnone\n}", Code::Undefined),
        ("track_interface {\ngone0\n}", Code::MissingInterface),
        ("track_interface {\neth1 weight 254\n}", Code::OutOfRange),
        ("track_interface {\neth1\neth1\n}", Code::Duplicate),
        ("virtual_ipaddress {\n10.0.0.1/32\n}", Code::Duplicate),
        ("virtual_ipaddress {\nfe80::1\n}", Code::Duplicate),
        ("virtual_ipaddress {\n10.0.0.256\n}", Code::BadValue),
        ("virtual_ipaddress {\n10.0.0.3 devv eth0\n}", Code::UnknownWord),
        ("virtual_routes {\n10.0.0.0/8\n}", Code::Conflict),
        ("virtual_routes {\nvia 10.0.0.1\n}", Code::MissingSetting),
        ("virtual_routes {\n10.0.0.0/8 via fe80::1 dev eth0\n}", Code::Conflict),
        ("virtual_routes {\n10.0.0.0/8 src fe80::1 dev eth0\n}", Code::Conflict),
        ("virtual_routes {\nvia 10.0.0.1 fe80::/16 dev eth0\n}", Code::Conflict),
        ("virtual_routes {\nfe80::/16 via inet 10.0.0.1 dev eth0\n}", Code::Conflict),
        ("virtual_routes {\ninet6 10.0.0.0/8 dev eth0\n}", Code::Conflict),
        ("virtual_routes {\n10.0.0.0/8 via inet6 10.0.0.1 dev eth0\n}", Code::BadValue),
        ("virtual_routes {\n10.0.0.0/8 nexthop via fe80::1 dev eth0\n}", Code::Conflict),
        ("virtual_routes {\n10.1.2.3/8 dev eth0\n}", Code::BadValue),
        ("virtual_rules {\nfrom 10.0.0.1 table 5\n}", Code::MissingSetting),
        ("virtual_rules {\nfrom 10.0.0.1 table nosuch preference 1\n}", Code::BadValue),
        ("unicast_src_ip 10.0.0.9", Code::Conflict),
        ("unicast_peer {\n10.0.0.9\n10.0.0.9\n}", Code::Duplicate),
        ("timer_expired_backup", Code::Conflict),
        ("thread_timer_expired\nnopreempt", Code::Deprecated),
        ("native_ipv6", Code::Deprecated),
        ("auth_hmac {\n}", Code::NotSupported),
        ("debug 9", Code::OutOfRange),
        ("vmac_xmit_base", Code::Conflict),
        ("track_src_ip", Code::Conflict),
        ("notify /bin/x nosuchuser", Code::Undefined),
        ("notify /bin/x root root more", Code::ExtraWords),
        ("accept\nno_accept", Code::Conflict),
        ("virtual_ipaddress", Code::Brace),
        ("priority 5 {\n}", Code::Brace),
    ] {
        let loaded = load(&instance(text));
        assert!(codes(&loaded).contains(&code), "{text}\n{}", said(&loaded));
        assert_eq!(loaded.findings.worst(), Some(Severity::Warning), "{text}\n{}", said(&loaded));
        assert!(loaded.plan.is_some());
        for finding in loaded.findings.iter().filter(|f| f.severity == Severity::Warning) {
            assert!(finding.span.is_some() && finding.assumed.is_some(), "{text}: {finding:?}");
        }
    }
}

#[test]
fn what_keepalived_refuses_is_an_error_without_a_plan() {
    let vip = "virtual_ipaddress {\n10.0.0.1\n}\n";
    for (text, code) in [
        (instance("priority"), Code::MissingValue),
        (instance("notify"), Code::MissingValue),
        ("vrrp_instance {\n}\n".to_owned(), Code::MissingValue),
        (format!("vrrp_instance a {{\ninterface eth0\n{vip}}}\n"), Code::MissingSetting),
        (format!("vrrp_instance a {{\ninterface eth0\nvirtual_router_id 0\n{vip}}}\n"), Code::MissingSetting),
        (format!("vrrp_instance a {{\nvirtual_router_id 1\n{vip}}}\n"), Code::MissingSetting),
        (
            "vrrp_instance a {\ninterface eth0\nvirtual_router_id 1\nversion 3\n}\n".to_owned(),
            Code::MissingSetting,
        ),
        (
            "vrrp_instance a {\ninterface eth0\nvirtual_router_id 1\nstrict_mode\n}\n".to_owned(),
            Code::MissingSetting,
        ),
        (instance("").replace("}\n}\n", "}\n"), Code::Unclosed),
        (instance("").replace("eth0", "lo"), Code::Conflict),
        (instance("strict_mode\nunicast_peer {\n10.0.0.2\n}"), Code::Conflict),
        (instance("") + &instance("").replace("VI", "V2").replace("0.1/", "0.2/"), Code::Duplicate),
    ] {
        let loaded = load(&text);
        assert_eq!(loaded.findings.worst(), Some(Severity::Error), "{text}\n{}", said(&loaded));
        assert!(codes(&loaded).contains(&code), "{text}\n{}", said(&loaded));
        assert!(loaded.plan.is_none());
    }
}

#[test]
fn a_word_that_has_nothing_to_change_is_told_by_a_note() {
    let noted = |name: &str, text: &str| {
        let loaded = load_text(Path::new(name), text, &options());
        assert!(loaded.plan.is_some(), "{text}\n{}", said(&loaded));
        let notes = loaded.findings.iter().filter(|f| f.code == Code::NoEffect && f.span.is_some());
        notes.map(|f| f.severity).collect::<Vec<_>>()
    };
    let global = |line: &str| format!("global_defs {{\n{line}\n}}\n");
    let note = vec![Severity::Note];
    assert_eq!(noted("a.conf", &global("tmp_config_directory /tmp")), note);
    assert_eq!(noted("a.conf", &instance("debug 3")), note);
    assert_eq!(noted("a.conf", &instance("use_vmac netlink_notify_msg")), note);
    assert_eq!(noted("a.conf", &global("random_seed 5\ninclude_check match")), []);
    assert_eq!(noted("a.toml", "[global]\nrandom_seed = 5\n"), note);
    assert_eq!(noted("a.toml", "[global]\ninclude_check = \"match\"\n"), note);
}

/// Of the words that have no setting, only those for the reader may pass in silence.
#[test]
fn every_word_without_a_setting_is_told() {
    fn tell(block: &'static Block, path: &str, seen: &mut Vec<&'static str>) {
        for keyword in block.keywords() {
            if let Form::Block(inner) = keyword.form {
                tell(inner, &format!("{path}/{}", keyword.name), seen);
            }
            match keyword.support {
                Support::Moot(why) => assert!(!why.is_empty(), "{path}/{}", keyword.name),
                Support::Reader => seen.push(keyword.name),
                Support::On | Support::Off | Support::Fork => {}
            }
        }
    }
    let mut of_the_reader = Vec::new();
    tell(&ROOT, "", &mut of_the_reader);
    assert_eq!(of_the_reader, ["random_seed", "include_check"]);
}

#[test]
fn a_file_without_a_word_is_a_plan_and_a_note() {
    for text in ["", "\n\n", "# nothing yet\n"] {
        let loaded = load(text);
        assert!(loaded.plan.is_some() && !loaded.unusable);
        assert_eq!(loaded.findings.worst(), Some(Severity::Note));
        assert!(loaded.findings.has(Code::Empty));
    }
    assert!(!load("global_defs {\n}\n").findings.has(Code::Empty));
}

#[test]
fn an_ipv4_route_by_way_of_ipv6_has_to_say_so() {
    let router = quiet_router(&instance("virtual_routes {\n10.0.0.0/8 via inet6 fe80::1 dev eth0\n}"));
    assert_eq!(
        (router.routes[0].family, router.routes[0].via.map(Family::of)),
        (Family::V4, Some(Family::V6))
    );
}

#[test]
fn a_finding_points_at_what_it_is_about() {
    let two =
        |first: &str, second: &str| instance(first) + &instance(second).replace("VI", "V2").replace("5", "6");
    let other = |text: &str| text.replacen("10.0.0.1/24", "10.0.0.2", 1);
    let script = "vrrp_script s {\nscript /bin/true\n}\nvrrp_instance";
    let group = "vrrp_sync_group g {\ngroup {\nVI\nV2\n}\n";
    for (text, code, pointed) in [
        (two("", ""), Code::Duplicate, "10.0.0.1/24"),
        (
            two(
                "virtual_ipaddress_excluded {\n10.0.0.9\n}",
                "virtual_ipaddress_excluded {\n10.0.0.9/32 dev eth0\n}",
            ),
            Code::Duplicate,
            "10.0.0.9/32",
        ),
        (other(&two("", "")).replace("id 6", "id 5"), Code::Duplicate, "5"),
        (
            other(&two("", "")) + group + "}\n" + "vrrp_sync_group h {\ngroup {\nV2\n}\n}\n",
            Code::Duplicate,
            "V2",
        ),
        (instance("") + "vrrp_sync_group g {\ngroup {\nVI V3\n}\n}\n", Code::Undefined, "V3"),
        ("track_group g {\ngroup {\nV3\n}\n}\n".to_owned(), Code::Undefined, "V3"),
        (instance("").replace("10.0.0.1/24", ""), Code::MissingSetting, "VI"),
        (instance("accept\nno_accept"), Code::Conflict, "no_accept"),
        (instance("strict_mode\naccept"), Code::Conflict, "accept"),
        (instance("state MASTER\nauthentication {\nauth_type AH\nauth_pass 1\n}"), Code::Conflict, "MASTER"),
        (
            instance("strict_mode\nunicast_peer {\n10.0.0.7 min_ttl 1\n}"),
            Code::Conflict,
            "10.0.0.7 min_ttl 1",
        ),
        (instance("strict_mode\nuse_vmac 02:00:00:00:00:01"), Code::Conflict, "02:00:00:00:00:01"),
        (instance("strict_mode\nuse_vmac\nvmac_xmit_base"), Code::Conflict, "vmac_xmit_base"),
        (instance("unicast_peer {\nfe80::7\n}"), Code::Conflict, "fe80::7"),
        (instance("track_script {\nnone\n}"), Code::Undefined, "none"),
        (
            (other(&two("track_script {\ns weight 5\n}", "")) + group + "}\n").replacen(
                "vrrp_instance",
                script,
                1,
            ),
            Code::Conflict,
            "s",
        ),
        (
            other(&two("track_interface {\neth1\n}", "")) + group + "track_interface {\neth1\n}\n}\n",
            Code::Duplicate,
            "eth1",
        ),
    ] {
        let loaded = load(&text);
        let about = |f: &&Finding| f.code == code;
        let finding =
            loaded.findings.iter().find(about).unwrap_or_else(|| panic!("{text}\n{}", said(&loaded)));
        let span = finding.span.expect("a place");
        assert_eq!(&text[span.start as usize..span.end as usize], pointed, "{text}\n{}", said(&loaded));
    }
}

#[test]
fn all_findings_of_a_file_come_in_one_go() {
    let loaded =
        load("nonsense\nvrrp_instance a {\nwrong\nvirtual_router_id 1\ninterface gone0\npriority 999\n}\n");
    assert_eq!(codes(&loaded).len(), 5, "{}", said(&loaded));
}

#[test]
fn a_finding_names_the_nearest_word_and_its_place() {
    let loaded = load(&instance("  virtual_routerid 6"));
    let finding = loaded.findings.iter().next().expect("a finding");
    assert_eq!(finding.nearest.as_deref(), Some("virtual_router_id"));
    assert_eq!(
        said(&loaded),
        "test.conf:4:3: warning: unknown word `virtual_routerid` in `vrrp_instance`; \
         did you mean `virtual_router_id`? (assumed: the line is ignored)"
    );
    let shown = for_people(&loaded.findings, &loaded.sources, false);
    assert!(shown.contains("4 |   virtual_routerid 6") && shown.contains("^^^^^^^^^^^^^^^^"), "{shown}");
    let record = &json(&loaded.findings, &loaded.sources)[0];
    assert_eq!(
        (&record["line"], &record["column"], &record["end_column"]),
        (&4.into(), &3.into(), &19.into())
    );
    assert_eq!(record["code"], "unknown-word");
}

#[test]
fn strictness_turns_warnings_into_errors() {
    let text = instance("prioritx 5");
    let strict = LoadOptions { strict: true, ..options() };
    assert!(load_text(Path::new("test.conf"), &text, &strict).plan.is_none());
    assert!(load(&format!("global_defs {{\nconfig_strict\n}}\n{text}")).plan.is_none());
    assert!(load(&text).plan.is_some());
}

#[test]
fn toml_is_strict_but_waits_for_interfaces() {
    let text = "[[vrrp_instance]]\nname = \"a\"\ninterface = \"gone0\"\nvirtual_router_id = 1\n\
                virtual_ipaddress = [\"10.0.0.1\"]\n";
    let load = |text: &str| load_text(Path::new("test.toml"), text, &options());
    let loaded = load(text);
    assert_eq!(codes(&loaded), [Code::MissingInterface]);
    assert!(loaded.plan.is_some());
    for (more, code) in [
        ("prioritx = 5\n", Code::UnknownWord),
        ("priority = 300\n", Code::OutOfRange),
        ("priority = \"100\"\n", Code::BadValue),
        ("nopreempt = 1\n", Code::BadValue),
        ("priority = \n", Code::TomlSyntax),
        ("[vrrp_instance.authentication]\nauth_typ = \"PASS\"\n", Code::UnknownWord),
    ] {
        let loaded = load(&format!("{text}{more}"));
        assert!(loaded.plan.is_none() && codes(&loaded).contains(&code), "{more}\n{}", said(&loaded));
        assert!(loaded.findings.iter().all(|f| f.span.is_some()), "{more}");
    }
}

#[test]
fn a_password_is_cut_to_eight_bytes_and_padded_with_zeros() {
    let with = |pass: &str| {
        router(&instance(&format!("authentication {{\nauth_type PASS\nauth_pass {pass}\n}}")))
            .election
            .authentication
    };
    assert_eq!(with("abc"), Authentication::Password(*b"abc\0\0\0\0\0"));
    assert_eq!(with("123456789"), Authentication::Password(*b"12345678"));
}

#[test]
fn intervals_are_rounded_to_what_the_version_can_say() {
    for (text, millis) in [
        ("advert_int 0.3", 1_000),
        ("advert_int 1.5", 2_000),
        ("version 3\nadvert_int 0.014", 10),
        ("version 3\nadvert_int 100", 40_950),
        ("version 3\nadvert_int 0.25", 250),
    ] {
        let interval = router(&instance(text)).election.advert_interval;
        assert_eq!(interval, Duration::from_millis(millis), "{text}");
    }
}

#[test]
fn the_first_address_decides_the_family_and_the_version() {
    let text = instance("").replace("10.0.0.1/24", "fe80::1/64\n2001:db8::1");
    let router = quiet_router(&text);
    assert_eq!((router.election.family, router.election.version), (Family::V6, Version::V3));
    assert_eq!((router.addresses[0].preferred, router.addresses[1].preferred), (None, Some(0)));
}

#[test]
fn strict_mode_corrects_what_the_rfc_does_not_know() {
    let router = router(&instance(
        "strict_mode\nversion 3\nstate MASTER\npriority 150\nlower_prio_no_advert off\nhigher_prio_send_advert\n\
         down_timer_adverts 5\npreempt_delay 3",
    ));
    assert_eq!(router.election.start, StartState::Backup);
    assert!(
        router.election.lower_prio_no_advert && !router.election.higher_prio_send_advert && !router.accept
    );
    assert_eq!((router.election.down_timer_adverts, router.election.preempt), (3, Preempt::Yes));
    assert_eq!(router.election.garp.lower_prio_repeat, 0);
}

#[test]
fn unicast_takes_its_peers_and_checks_sources_when_a_ttl_is_bounded() {
    let router = quiet_router(&instance("unicast_src_ip 10.0.0.8\nunicast_peer {\n10.0.0.9 min_ttl 3\n}"));
    let Transport::Unicast(unicast) = &router.election.transport else { panic!("not unicast") };
    assert_eq!((unicast.peers[0].min_ttl, unicast.peers[0].max_ttl, unicast.ttl), (3, 255, 255));
    assert!(unicast.check_source);
    assert_eq!(router.source, Some(IpAddr::from([10, 0, 0, 8])));
}

#[test]
fn groups_take_weights_from_their_members_and_give_them_their_trackers() {
    let text = format!(
        "vrrp_sync_group G {{\ngroup {{\nVI\nV2\nnobody\n}}\ntrack_interface {{\neth7\n}}\n}}\n{}{}",
        instance("track_interface {\neth5 weight 10\n}"),
        instance("").replace("VI", "V2").replace("_id 5", "_id 6").replace("0.1/", "0.2/"),
    );
    let loaded = load(&text);
    assert_eq!(codes(&loaded), [Code::Undefined, Code::Conflict], "{}", said(&loaded));
    let plan = loaded.plan.expect("a plan");
    assert_eq!(plan.groups[0].election.members.len(), 2);
    let weights: Vec<_> = plan.routers[0].trackers.iter().map(|t| (t.target.clone(), t.weight)).collect();
    assert_eq!(weights, [(Target::Interface("eth5".into()), 0), (Target::Interface("eth7".into()), 0)]);
    assert_eq!(plan.routers[1].trackers.len(), 1);
}

#[test]
fn a_tracker_has_to_be_defined_before_it_is_used() {
    let script = "vrrp_script s {\nscript /bin/true\nweight 5\n}\n";
    let tracking = instance("track_script {\ns\n}");
    assert_eq!(router(&format!("{script}{tracking}")).trackers[0].weight, 5);
    let late = load(&format!("{tracking}{script}"));
    assert_eq!(codes(&late), [Code::Undefined]);
    assert!(late.plan.expect("a plan").routers[0].trackers.is_empty());
}

#[test]
fn addresses_and_peers_stand_where_keepalived_keeps_them() {
    let text = instance(
        "virtual_ipaddress {\n10.0.0.2/33\n10.0.0.3 foo\n10.0.0.4 scope nosuch\n10.0.0.5 peer 300.1.1.1\n\
         10.0.0.6 preferred_lft x\n10.0.0.7 dev\n10.0.0.8 brd 1.2.3\n10.0.0.9 label a2345678901234567\n}\n\
         unicast_peer {\n10.9.0.1 foo\n10.9.0.2 min_ttl 300\n}",
    );
    let router = router(&text);
    let addresses: Vec<String> = router.election.advertised.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.1"]);
    assert_eq!(router.addresses[0].prefix_len, 32);
    let Transport::Unicast(unicast) = &router.election.transport else { panic!("not unicast") };
    assert_eq!(unicast.peers.len(), 2);
}

#[test]
fn a_weight_with_something_behind_it_is_its_number() {
    let script = "vrrp_script s {\nscript /bin/true\nweight 5x\n}\n";
    let tracking = "track_script {\ns\n}\ntrack_interface {\neth1 weight 7y\neth2 weight\neth3 foo\n}";
    let weights: Vec<i32> =
        router(&format!("{script}{}", instance(tracking))).trackers.iter().map(|t| t.weight).collect();
    assert_eq!(weights, [7, 5]);
}

#[test]
fn routes_and_rules_have_their_numbers() {
    let text = instance(
        "virtual_routes {\n10.1.0.0/16 via 10.0.0.254 dev eth0 table local scope link metric 7 mtu lock 1400 add\n}\n\
         virtual_rules {\nnot from 10.0.0.0/8 fwmark 0x1/0xf lookup main pref 5\nto fe80::/10 unreachable order 9\n}",
    )
    .replace("pref 5", "preference 5");
    let router = quiet_router(&text);
    let route = &router.routes[0];
    assert_eq!(
        (route.table, route.scope, route.metric, route.insert),
        (255, Some(253), Some(7), Insert::Add)
    );
    assert_eq!((route.metrics[0].rtax, route.metrics[0].value, route.metrics[0].locked), (2, 1400, true));
    let (first, second) = (&router.rules[0], &router.rules[1]);
    assert!(first.invert);
    assert_eq!(
        (first.action, first.fwmark, first.priority),
        (RuleAction::Table(254), Some((1, Some(15))), 5)
    );
    assert_eq!((second.family, second.action), (Family::V6, RuleAction::Unreachable));
}

#[test]
fn an_unknown_block_is_skipped_as_a_whole() {
    let loaded = load(&instance("no_such {\npriority 7\ninner {\n}\n}\npriority 8"));
    assert_eq!(codes(&loaded), [Code::UnknownBlock]);
    assert_eq!(loaded.plan.expect("a plan").routers[0].election.priority.get(), 8);
}

#[test]
fn words_of_forks_are_named_as_such() {
    let text = "virtual_server 10.0.0.1 80 {\nlb_algo rr\nlb_kind SNAT\nprotocol TCP\nsyn_proxy\n\
                real_server 10.0.0.2 80 {\n}\n}\ndeny_address_group l {\n10.0.0.3\n}\n";
    let loaded = load(text);
    assert_eq!(loaded.findings.iter().filter(|f| f.code == Code::ForkWord).count(), 3, "{}", said(&loaded));
    assert!(said(&loaded).contains("a forwarding method of the LVS-FNAT and DPVS forks"));
}

#[test]
fn missing_files_and_other_kinds_of_files_are_unusable() {
    assert!(super::load(Path::new("/no/such/file"), &options()).unusable);
    assert!(super::load(Path::new("/"), &options()).unusable);
    assert!(load("Dear reader,\nthis is a letter.\n").unusable);
    assert!(!load("").unusable);
}

#[test]
fn passwords_do_not_show_in_debug_output() {
    let router = router(&instance("authentication {\nauth_type PASS\nauth_pass sEcReT\n}"));
    assert!(!format!("{router:?}").contains("sEcReT"));
}

/// A value that the form accepts.
fn sample(form: Form) -> Option<String> {
    Some(match form {
        Form::Flag | Form::Bool => String::new(),
        Form::Weight(most) => most.to_string(),
        Form::Int(min, _) | Form::Clamped(min, _) | Form::IntElse(min, ..) | Form::OptInt(min, _) => {
            min.to_string()
        }
        Form::Seconds(_, max) | Form::OptSeconds(_, max) => value::format_seconds(Duration::from_micros(max)),
        Form::Text | Form::OptText | Form::Texts => "name".to_owned(),
        Form::Choice(of) | Form::ChoiceAnyCase(of) => of[0].to_owned(),
        Form::Ip => "224.0.0.9".to_owned(),
        Form::Script | Form::OptScript => "/bin/true".to_owned(),
        Form::Words(check) | Form::OptWords(check) => {
            let candidates = [
                "5",
                "root",
                "all 5",
                "MTU",
                "never",
                "allow_if_changes",
                "http://x",
                "overwrite",
                "tcp 5",
                "VS",
                "NAT",
                "10.0.0.1",
                "503",
                "5 5",
                "0123456789abcdef0123456789abcdef",
            ];
            let fits = |c: &&str| check(&c.split(' ').collect::<Vec<_>>()).is_ok();
            candidates.into_iter().find(fits)?.to_owned()
        }
        Form::Block(_) => return None,
    })
}

fn every_word(block: &'static Block, text: &mut String) {
    for keyword in block.keywords().filter(|k| k.support == Support::On) {
        match (keyword.form, sample(keyword.form)) {
            (Form::Block(inner), _) => {
                let title = match inner.title {
                    Title::None => "",
                    Title::Name => "name ",
                    Title::Service | Title::Server => "10.0.0.9 ",
                };
                text.push_str(&format!("{} {title}{{\n", keyword.name));
                match inner.content {
                    Content::Words(_) => every_word(inner, text),
                    Content::Entries(_) => text.push_str("10.0.0.1\n"),
                }
                text.push_str("}\n");
            }
            (_, Some(value)) => text.push_str(&format!("{} {value}\n", keyword.name)),
            (_, None) => panic!("no sample for {}", keyword.name),
        }
    }
}

#[test]
fn every_word_with_an_effect_has_a_setting() {
    let mut text = String::new();
    every_word(&ROOT, &mut text);
    let mut sources = Sources::default();
    let mut findings = Findings::default();
    let file = sources.add(Path::new("all.conf"), text);
    let manner = Manner { config_id: "here".to_owned(), all_include_checks: false };
    let mut tree = reader::read(file, manner, &mut sources, &mut findings);
    check::check(&mut tree, Syntax::Conf, &sources, &mut findings);
    let expected = |f: &&Finding| matches!(f.code, Code::Deprecated | Code::Duplicate | Code::NotSupported);
    let refused: Vec<_> = findings.iter().filter(|f| !expected(f)).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    settings::read(&tree, &sources).expect("every word has a field");
    let mut real_servers = 0;
    for service in settings::virtual_servers(&tree, &sources) {
        for server in service.expect("every word has a field").real_servers.iter() {
            server.expect("every word has a field");
            real_servers += 1;
        }
    }
    assert!(real_servers > 0);
}
