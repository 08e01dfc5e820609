//! What keepalived lets pass: each is told, has a plan, and is written so that the plan stays the same in either
//! syntax, without an error in TOML.

use super::*;

/// Writes it in both syntaxes and reads that again.
#[track_caller]
fn converts(loaded: &Loaded) {
    for (name, syntax) in [("again.conf", Syntax::Conf), ("there.toml", Syntax::Toml)] {
        let text = loaded.write(syntax);
        let written = load_text(Path::new(name), &text, &options());
        assert_eq!(written.plan, loaded.plan, "{}\n{text}\n{}", said(loaded), said(&written));
    }
}

#[track_caller]
fn is_odd(text: &str, code: Code) {
    let loaded = load(text);
    assert!(codes(&loaded).contains(&code), "{text}\n{}", said(&loaded));
    assert_eq!(loaded.findings.worst(), Some(Severity::Warning), "{text}\n{}", said(&loaded));
    assert!(loaded.plan.is_some());
    for finding in loaded.findings.iter().filter(|f| f.severity == Severity::Warning) {
        assert!(finding.span.is_some() && finding.assumed.is_some(), "{text}: {finding:?}");
    }
    converts(&loaded);
}

fn two() -> String {
    instance("") + &second()
}

fn second() -> String {
    instance("").replace("VI", "V2").replace("_id 5", "_id 6").replace("0.1/", "0.2/")
}

fn global(lines: &str) -> String {
    format!("global_defs {{\n{lines}\n}}\n")
}

#[test]
fn in_an_instance() {
    for (text, code) in [
        ("state MASTER\nstate BACKUP", Code::Duplicate),
        ("authentication {\nauth_type PASS\n}\nauthentication {\nauth_pass 1\n}", Code::Duplicate),
        ("garp_extra_if 5 more", Code::ExtraWords),
        ("old_unicast_checksum never more", Code::ExtraWords),
        ("notify '/bin/true x", Code::UnterminatedQuote),
        ("notify \"/bin/true 'x\" root", Code::UnterminatedQuote),
        ("notify '/bin/true \"q\" # x' root", Code::UnterminatedQuote),
        ("skip_check_adv_addr off", Code::BadValue),
        ("strict_mode\nversion 3\nhigher_prio_send_advert on", Code::Conflict),
        ("strict_mode\nversion 3\nlower_prio_no_advert off", Code::Conflict),
        ("strict_mode\nversion 3\ngarp_lower_prio_repeat 5", Code::Conflict),
        ("strict_mode\nversion 3\npriority 255\nowner_ignore_adverts off", Code::Conflict),
        ("owner_ignore_adverts", Code::Conflict),
        ("state MASTER\nauthentication {\nauth_type AH\nauth_pass 1\n}", Code::Conflict),
        ("priority 255\nauthentication {\nauth_type AH\nauth_pass 1\n}", Code::Conflict),
        ("authentication {\nauth_type PASS\nauth_pass 1234567\u{e4}\n}", Code::OutOfRange),
        ("track_interface {\neth1 weight\n}", Code::BadValue),
        ("track_interface {\neth1 weight 300 reverse\n}", Code::BadValue),
    ] {
        is_odd(&instance(text), code);
    }
}

#[test]
fn in_addresses_and_peers() {
    for (text, code) in [
        ("virtual_ipaddress {\n10.0.0.3/24 peer 10.0.0.9\n}", Code::Conflict),
        ("virtual_ipaddress {\n10.0.0.3/24 brd + peer 10.0.0.9/33\n}", Code::OutOfRange),
        ("virtual_ipaddress {\n10.0.0.3 label a label b\n}", Code::Duplicate),
        ("virtual_ipaddress {\n10.0.0.3 dev eth0 dev eth1\n}", Code::BadValue),
        ("virtual_ipaddress {\n10.0.0.3 scope\n}", Code::BadValue),
        ("virtual_ipaddress_excluded {\nfe80::3/64 peer fe80::4\n}", Code::Conflict),
        ("virtual_ipaddress_excluded {\nfe80::3/64 brd + home scope link\n}", Code::Conflict),
        ("check_unicast_src", Code::Conflict),
        ("unicast_fault_no_peer", Code::Conflict),
        ("unicast_peer {\n10.0.0.9\n}\nmcast_dst_ip 10.0.0.1", Code::Conflict),
        ("unicast_peer {\n10.0.0.9\n}\nunicast_src_ip 10.0.0.8\nmcast_src_ip 10.0.0.7", Code::Conflict),
        ("unicast_peer {\n10.0.0.9 min_ttl 300\n}", Code::BadValue),
        ("unicast_peer {\n10.0.0.9 min_ttl\n}", Code::BadValue),
        ("unicast_peer {\n10.0.0.9 min_ttl 3 min_ttl 4\n}", Code::Duplicate),
        ("unicast_peer {\n10.0.0.9 min_ttl 4 max_ttl 3\n}", Code::Conflict),
        ("unicast_peer {\nfoo\n}\nunicast_fault_no_peer", Code::BadValue),
        ("unicast_peer {\nfe80::1\n}\nunicast_ttl 5", Code::Conflict),
        ("mcast_dst_ip 10.0.0.1", Code::BadValue),
        ("mcast_src_ip fe80::1\ntrack_src_ip", Code::Conflict),
    ] {
        is_odd(&instance(text), code);
    }
    is_odd(&instance("").replace("10.0.0.1/24", "2001:db8::1"), Code::Conflict);
    is_odd(&instance("").replace("10.0.0.1/24", "fe80::1 label a2345678901234567\n10.0.0.1"), Code::BadValue);
    let vips: String = (0..260).map(|n| format!("10.1.{}.{}\n", n / 200, n % 200)).collect();
    is_odd(&instance("").replace("10.0.0.1/24", &vips), Code::OutOfRange);
}

#[test]
fn in_routes_and_rules() {
    for (text, code) in [
        ("10.0.0.0/8 dev eth0 dev eth1", Code::Duplicate),
        ("10.0.0.0/8 dev eth0 mtu 5 mtu lock 6", Code::Duplicate),
        ("10.0.0.0/8 to 10.1.0.0/16 dev eth0", Code::BadValue),
        ("10.0.0.0/8 dev eth0 table nosuch", Code::BadValue),
        ("10.0.0.0/8 dev eth0 encap", Code::BadValue),
        ("10.0.0.0/8 gw 10.0.0.7 dev eth0", Code::Deprecated),
        ("10.0.0.0/8 via 10.0.0.7 or 10.0.0.8 metric 5 no_track", Code::Deprecated),
        ("10.0.0.0/8 gw 10.0.0.7 or 10.0.0.8", Code::Conflict),
        ("10.0.0.0/8 or inet6 fe80::1 nexthop via 10.0.0.8 dev eth1", Code::Deprecated),
        ("default6 dev eth0", Code::Deprecated),
    ] {
        is_odd(&instance(&format!("virtual_routes {{\n{text}\n}}")), code);
    }
    for (text, code) in [
        ("from 10.0.0.0/8 table 5 preference 3 goto 7", Code::BadValue),
        ("from 10.0.0.0/8 l3mdev table 5 preference 3", Code::BadValue),
        ("from 10.0.0.0/8 table 5 preference 3 order 4", Code::Duplicate),
        ("from 10.0.0.0/8 from all table 5 order 4", Code::Duplicate),
        ("from fe80::/10 from all table 5 order 4", Code::Duplicate),
        ("from 10.0.0.0/8 to fe80::/10 table 5 order 4", Code::MissingSetting),
        ("sport 5 table 5", Code::BadValue),
        ("from fe80::/10 table 5\nfrom 10.0.0.0/8 table 6", Code::MissingSetting),
    ] {
        is_odd(&instance(&format!("virtual_rules {{\n{text}\n}}")), code);
    }
}

#[test]
fn in_groups_and_trackers() {
    let group = |more: &str| format!("vrrp_sync_group G {{\ngroup {{\nVI\nV2\n}}\n{more}\n}}\n");
    let script = |more: &str| format!("vrrp_script s {{\nscript /bin/true\n{more}\n}}\n");
    let tracking = |list: &str| instance(&format!("{list} {{\ns\n}}"));
    let own = instance("track_interface {\neth1\n}\ntrack_script {\ns weight 6\n}") + &second();
    for (text, code) in [
        (two() + "vrrp_sync_group G {\ngroup {\nVI\n}\n}\n", Code::Conflict),
        (two() + "vrrp_sync_group G {\ngroup {\nVI nobody V2 VI\n}\n}\n", Code::Duplicate),
        (two() + "vrrp_sync_group G {\ngroup {\nnobody\n}\n}\n", Code::MissingSetting),
        (script("") + &two() + &group("track_script {\ns weight 5\n}"), Code::Conflict),
        (script("weight 5") + &two() + &group("track_script {\ns\n}"), Code::Conflict),
        (two() + &group("track_interface {\neth1 weight 5 reverse\n}"), Code::Conflict),
        (script("") + &own + &group("track_interface {\neth1\n}\ntrack_script {\ns\n}"), Code::Duplicate),
        (tracking("track_script") + &script(""), Code::Undefined),
        ("vrrp_script s {\n}\n".to_owned() + &tracking("track_script"), Code::MissingSetting),
        ("track_file s {\n}\n".to_owned() + &tracking("track_file"), Code::MissingSetting),
        (script("interval 0"), Code::OutOfRange),
        (script("timeout 0"), Code::OutOfRange),
        (script("weight 5 foo"), Code::ExtraWords),
        (script("user root root more"), Code::ExtraWords),
        (script("user nosuchuser") + &tracking("track_script"), Code::Undefined),
        (
            "vrrp_track_process s {\nprocess x\nparam_match y\nquorum 3\nquorum_max 2\n}\n".to_owned(),
            Code::BadValue,
        ),
        (
            "track_group t {\ngroup {\nVI\n}\n}\nstatic_rules {\nfrom 10.0.0.1 table 5 order 4 track_group t\n}\n"
                .to_owned()
                + &two(),
            Code::Conflict,
        ),
        (
            "static_ipaddress {\n10.0.0.7 dev eth0 track_group nosuch\n10.0.0.7 dev eth0\n}\n".to_owned(),
            Code::Undefined,
        ),
        ("garp_group {\ninterface eth1\n}\n".to_owned(), Code::MissingSetting),
        (
            "garp_group {\ngarp_interval 1\ninterface eth1\ninterface eth1\ninterfaces {\neth1 eth2\n}\n}\n".to_owned(),
            Code::Duplicate,
        ),
        ("interface_up_down_delays {\neth0 1 2\neth0 3\neth1 x\n}\n".to_owned(), Code::Duplicate),
        (instance("use_vmac v1") + &second().replace("eth0", "eth0\nuse_vmac name v1"), Code::Duplicate),
        (instance("strict_mode\nversion 3\nuse_vmac v1 02:00:00:00:00:01"), Code::Conflict),
    ] {
        is_odd(&text, code);
    }
}

#[test]
fn in_general_settings() {
    for (text, code) in [
        ("script_user root root more", Code::ExtraWords),
        ("smtp_server h 25 more", Code::ExtraWords),
        ("alert_webhook http://x 5 more", Code::ExtraWords),
        ("smtp_connect_timeout 0", Code::OutOfRange),
        ("v3_checksum_as_v2 off", Code::BadValue),
        ("vrrp_garp_extra_if 0", Code::BadValue),
        ("vrrp_rx_bufs_multiplier 5", Code::Conflict),
        ("vrrp_rx_bufs_policy 4096\nvrrp_rx_bufs_multiplier 5", Code::Conflict),
        ("startup_script_timeout 5", Code::Conflict),
        ("shutdown_script_timeout 5", Code::Conflict),
        ("vrrp_cpu_affinity 0 1000", Code::OutOfRange),
        ("notify_fifo /run/f\nvrrp_notify_fifo /run/f\nvrrp_notify_fifo_script /bin/true", Code::Conflict),
        ("notify_fifo /run/f\nlvs_notify_fifo /run/f\nlvs_notify_fifo_script /bin/true", Code::Conflict),
        ("notify_fifo_script /bin/true", Code::Conflict),
        ("notification_email {\na b a\n}", Code::Duplicate),
        ("umask 999", Code::BadValue),
        ("lvs_flush_on_stop RS", Code::BadValue),
        ("lvs_sync_daemon eth0 inst nosuch", Code::Undefined),
        ("lvs_sync_daemon eth0 VI id 999", Code::BadValue),
        ("lvs_sync_daemon eth0 VI group 10.0.0.1", Code::BadValue),
        (
            "vrrp_version 2\nlvs_flush\n}\nglobal_defs {\nvrrp_version 3\nlvs_timeouts tcp 5\nfoo",
            Code::UnknownWord,
        ),
        ("router_id $NAME", Code::Definition),
        ("vrrp_mcast_group4 10.0.0.1", Code::BadValue),
    ] {
        is_odd(&(global(text) + &two()), code);
    }
    is_odd(
        &(global("vrrp_strict\nvrrp_version 3\nvrrp_down_timer_adverts 5") + &instance("")),
        Code::Conflict,
    );
    is_odd(&(global("script_user nosuch") + &instance("notify /bin/true")), Code::Script);
}

#[test]
fn in_virtual_services() {
    let service = |check: &str| {
        format!(
            "virtual_server 10.0.0.9 80 {{\nlb_algo rr\nlb_kind NAT\nprotocol TCP\nreal_server 10.0.0.8 80 {{\n\
             {check}\n}}\n}}\n"
        )
    };
    for (text, code) in [
        (service("FILE_CHECK {\ntrack_file nosuch\n}"), Code::Undefined),
        (service("BFD_CHECK {\nname b\n}"), Code::NotSupported),
        (service("MISC_CHECK {\nmisc_path /bin/true\nuser nosuch\n}"), Code::Undefined),
        (service("MISC_CHECK {\nmisc_path \"/bin/true 'x\"\n}"), Code::UnterminatedQuote),
        (service("").replace("10.0.0.9 80", "group nosuch"), Code::Undefined),
        (service("").replace("10.0.0.9 80", "fwmark 5"), Code::Conflict),
        (service("").replace("NAT", "SNAT"), Code::ForkWord),
        (service("") + &service(""), Code::Duplicate),
        ("virtual_server_group g {\n10.0.0.1 80 more\n10.0.0.1 81\n}\n".to_owned(), Code::ExtraWords),
        ("SSL {\nca /a\n}\nSSL {\nkey /b\n}\n".to_owned(), Code::Duplicate),
    ] {
        is_odd(&text, code);
    }
    let defined = service("FILE_CHECK {\ntrack_file f\n}").replace("10.0.0.9 80", "group g")
        + "track_file f {\nfile /f\n}\nvirtual_server_group g {\n10.0.0.9 80\n}\n";
    assert!(!load(&defined).findings.has(Code::Undefined), "{}", said(&load(&defined)));
}

#[test]
fn master_is_not_taken_back() {
    for (text, start) in [
        ("priority 5\nstate MASTER\nstate BACKUP", StartState::Master),
        ("priority 5\nstate BACKUP\nstate MASTER", StartState::Master),
        ("priority 5\nstate BACKUP\nstate BACKUP", StartState::Backup),
    ] {
        assert_eq!(router(&instance(text)).election.start, start, "{text}");
    }
}

#[test]
fn an_address_with_a_peer_has_the_length_of_the_peer() {
    for (text, len, told) in [
        ("10.0.0.3/24 peer 10.0.0.9", 32, true),
        ("10.0.0.3/24 peer 10.0.0.9/30", 30, true),
        ("10.0.0.3 peer 10.0.0.9/30", 30, false),
        ("10.0.0.3/30 peer 10.0.0.9/30", 30, false),
    ] {
        let loaded = load(&instance("").replace("10.0.0.1/24", text));
        assert_eq!(!codes(&loaded).is_empty(), told, "{text}");
        assert_eq!(loaded.plan.expect("a plan").routers[0].addresses[0].prefix_len, len, "{text}");
    }
}

#[test]
fn a_rule_with_two_actions_is_dropped() {
    let rules = "virtual_rules {\nfrom 10.0.0.0/8 table 5 order 3 goto 7\nfrom 10.0.0.0/8 table 6 order 4\n}";
    let router = router(&instance(rules));
    assert_eq!(router.rules.len(), 1);
    assert_eq!(router.rules[0].action, RuleAction::Table(6));
}

#[test]
fn extra_words_do_not_cost_a_script_its_user() {
    let text = "vrrp_script s {\nscript /bin/true\nuser nobody nogroup extra\n}\n";
    let plan = load(text).plan.expect("a plan");
    assert_eq!(plan.scripts[0].command.user.as_ref().map(|user| &*user.name), Some("nobody"));
}

#[test]
fn a_script_whose_configured_user_is_missing_is_never_run() {
    for security in ["", "enable_script_security\n"] {
        let text = global(&format!("{security}script_user nosuch")) + &instance("notify /bin/true");
        let loaded = load(&text);
        assert!(loaded.plan.as_ref().expect("a plan").routers[0].notify.any.is_none(), "{text}");
        assert!(said(&loaded).contains("scripts that name no user are not run"), "{}", said(&loaded));
        assert!(!said(&loaded).contains("they are run"), "{}", said(&loaded));
        let named = load(&text.replace("/bin/true", "/bin/true root"));
        assert!(named.plan.expect("a plan").routers[0].notify.any.is_some());
    }
}

#[test]
fn with_dynamic_interfaces_a_missing_one_is_a_note() {
    let text = instance("").replace("eth0", "gone0");
    let dynamic = global("dynamic_interfaces\nconfig_strict") + &text;
    let loaded = load(&dynamic);
    assert!(loaded.plan.is_some() && loaded.findings.has(Code::MissingInterface), "{}", said(&loaded));
    assert_eq!(codes(&loaded), []);
    let strict = LoadOptions { strict: true, ..options() };
    assert!(load_text(Path::new("a.conf"), &dynamic, &strict).plan.is_some());
    assert!(load_text(Path::new("a.conf"), &text, &strict).plan.is_none());
}

#[test]
fn an_option_of_a_route_or_rule_without_its_value_is_an_error() {
    for text in [
        "virtual_routes {\n10.1.0.0/16 dev\n}",
        "virtual_routes {\n10.1.0.0/16 via\n}",
        "virtual_rules {\nfrom 10.0.0.0/8 table\n}",
        "virtual_rules {\nfrom\n}",
    ] {
        let loaded = load(&instance(text));
        assert_eq!(codes(&loaded), [Code::MissingValue], "{text}");
        assert!(loaded.plan.is_none());
    }
    assert!(load("static_rules {\nfrom\n}\n").plan.is_none());
}

#[test]
fn a_bad_general_setting_is_told_once() {
    let loaded = load(&(global("vrrp_mcast_group4 10.0.0.1") + &two()));
    assert_eq!(codes(&loaded), [Code::BadValue], "{}", said(&loaded));
}

#[test]
fn a_name_of_one_letter_is_like_no_other() {
    let loaded = load(&(instance("").replace("VI", "a") + "vrrp_sync_group g {\ngroup {\na z\n}\n}\n"));
    let finding = loaded.findings.iter().find(|f| f.code == Code::Undefined).expect("a finding");
    assert_eq!(finding.nearest, None);
}

#[test]
fn a_file_that_is_no_configuration_is_called_so() {
    let loaded = load("hello world\n");
    assert!(loaded.unusable && loaded.plan.is_none());
    assert!(said(&loaded).contains("test.conf is no configuration"), "{}", said(&loaded));
}

#[test]
fn a_byte_order_mark_is_skipped_and_told() {
    let plan = load(&instance("")).plan;
    for (name, text) in [("a.conf", instance("")), ("a.toml", load(&instance("")).write(Syntax::Toml))] {
        let loaded = load_text(Path::new(name), &format!("\u{feff}{text}"), &options());
        assert_eq!(codes(&loaded), [Code::NotUtf8], "{name}");
        assert!(said(&loaded).contains("byte order mark"));
        assert_eq!(loaded.plan, plan);
    }
}

#[test]
fn nothing_but_comments_is_empty() {
    assert!(load("").is_empty() && load("# nothing\n").is_empty());
    assert!(!load("global_defs {\n}\n").is_empty());
}

#[test]
fn toml_knows_numbers_of_every_base_and_with_exponents() {
    let with = |more: &str| {
        let text = format!(
            "[[vrrp_instance]]\nname = \"a\"\ninterface = \"eth0\"\nvirtual_ipaddress = [\"10.0.0.1\"]\n{more}\n"
        );
        load_text(Path::new("test.toml"), &text, &options())
    };
    for vrid in ["16", "0x10", "0o20", "0b1_0000", "+16"] {
        let loaded = with(&format!("virtual_router_id = {vrid}"));
        assert_eq!(loaded.plan.expect(vrid).routers[0].election.vrid.get(), 16);
    }
    for interval in ["1e1", "1.0e+1", "10.0", "1_0.0", "+10.0"] {
        let loaded = with(&format!("virtual_router_id = 1\nadvert_int = {interval}"));
        let router = &loaded.plan.expect(interval).routers[0];
        assert_eq!(router.election.advert_interval, Duration::from_secs(10), "{interval}");
    }
    for bad in ["inf", "nan", "-inf", "1e99"] {
        let loaded = with(&format!("virtual_router_id = 1\nadvert_int = {bad}"));
        assert_eq!(codes(&loaded), [Code::BadValue], "{bad}");
    }
}

#[test]
fn toml_holds_no_word_that_the_other_syntax_cannot_say() {
    let with = |more: &str| load_text(Path::new("test.toml"), &format!("[global]\n{more}\n"), &options());
    for bad in [
        "router_id = \"${_HASH}x\"".to_owned(),
        "router_id = \"a$_PWD b\"".to_owned(),
        "router_id = \"a\\nb\"".to_owned(),
        "notification_email = [\"a ${_BANG}\"]".to_owned(),
        "notification_email = [\"a { b\"]".to_owned(),
        "notification_email = ['a \"b']".to_owned(),
        "notify_fifo = ['/run/f', \"${_BANG}\"]".to_owned(),
        format!("router_id = \"{}\"", "x".repeat(9_000)),
        format!("notify_fifo = \"{}\"", "x".repeat(9_000)),
    ] {
        let loaded = with(&bad);
        assert!(loaded.plan.is_none() && codes(&loaded).len() == 1, "{bad}\n{}", said(&loaded));
    }
    for (text, told) in [("$HOME, ~SEQ(A,2) #!", true), ("${X}", true), ("@a", false), ("$HOME", false)] {
        let loaded = with(&format!("router_id = \"{text}\""));
        assert!(loaded.plan.is_some(), "{text}\n{}", said(&loaded));
        assert_eq!(codes(&loaded), if told { vec![Code::Definition] } else { Vec::new() }, "{text}");
        converts(&loaded);
        let strict = with(&format!("config_strict = true\nrouter_id = \"{text}\""));
        assert_eq!(strict.plan.is_none(), told, "{text}");
    }
}

#[test]
fn commands_are_the_same_in_both_syntaxes_whatever_is_in_them() {
    for command in [
        "/bin/x ${_INSTANCE} $HOME ${X}",
        "/bin/x 'a \"b' c # d ! e",
        "/bin/x 'two\nlines' \"\" ''",
        "/bin/x \\x41 \\# {a} ~SEQ(A,2) @b",
        "/bin/x tail\\",
        "/bin/x \"\\$_PWD\" '$_HASH'",
    ] {
        let quoted = ::toml::Value::from(command).to_string();
        let text = format!("[global]\nstartup_script = [{quoted}, \"root\"]\n");
        let loaded = load_text(Path::new("a.toml"), &text, &options());
        let plan = loaded.plan.as_ref().unwrap_or_else(|| panic!("{text}\n{}", said(&loaded)));
        let script = plan.global.startup_script.as_ref().expect("a script");
        let argv: Vec<&str> = script.command.argv.iter().map(|argument| &**argument).collect();
        assert_eq!(argv, reader::arguments(command));
        converts(&loaded);
    }
}

#[test]
fn a_line_that_definitions_made_long_is_written_so_that_it_is_read_again() {
    for piece in ["x", "x\\#\\!", "\u{e4} b", "\\\\", "       ", "$"] {
        let long = piece.repeat(900 / piece.len());
        let notify = instance("notify \"/bin/true ${A} ${A} ${A}${A} ${A} ${A} ${A} ${A}\" root");
        let loaded = load(&format!("$A={long}z\n{notify}"));
        let plan = loaded.plan.as_ref().unwrap_or_else(|| panic!("{piece}\n{}", said(&loaded)));
        assert!(plan.routers[0].notify.any.is_some(), "{piece}");
        converts(&loaded);
        let conf = loaded.write(Syntax::Conf);
        assert!(
            conf.contains("LONG_LINE_") && conf.lines().all(|line| line.len() <= reader::MAX_LINE),
            "{conf}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn any_command_survives_any_conversion(command in "[ax0'\"\\\\ $_{}#!~@\n]{1,40}") {
        let quoted = ::toml::Value::from(command.as_str()).to_string();
        let text = format!("[global]\nstartup_script = [{quoted}, \"root\"]\n");
        let loaded = load_text(Path::new("a.toml"), &text, &options());
        if loaded.plan.is_some() {
            converts(&loaded);
        }
        let conf = format!("global_defs {{\nstartup_script {}\n}}\n", command.replace('\n', " "));
        let loaded = load(&conf);
        if loaded.plan.is_some() {
            converts(&loaded);
        }
    }
}
