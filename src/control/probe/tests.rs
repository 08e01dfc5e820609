//! From the text of a configuration to probes.

use std::io::Write;
use std::net::TcpListener;

use buoy_healthcheck::checker::command::CommandCheck;
use buoy_healthcheck::checker::http::{
    HostHeader, HttpCheck, HttpVersion, Page, Pages, Pattern, PatternOptions,
};
use buoy_healthcheck::checker::http::{PatternWanted, StatusCodes};
use buoy_healthcheck::{Application, Outcome, Reason, Sni, Trust, WeightAdvice};

use super::*;
use crate::config::{LoadOptions, load_text};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn plan(text: &str) -> Plan {
    let options = LoadOptions {
        config_id: None,
        strict: false,
        known_interface: &|_| true,
        inspect_files: false,
        all_include_checks: false,
    };
    let loaded = load_text(Path::new("test.conf"), text, &options);
    loaded.plan.unwrap_or_else(|| panic!("no plan of\n{text}\n{:?}", loaded.findings))
}

/// A service with these lines, whose one server has these.
fn text(of_service: &str, of_server: &str) -> String {
    format!(
        "virtual_server 10.0.0.9 80 {{\nlb_algo rr\nlb_kind NAT\nprotocol TCP\n{of_service}\n\
         real_server 10.0.1.1 8080 {{\n{of_server}\n}}\n}}\n"
    )
}

/// What becomes of every check of a text.
fn all(text: &str) -> Vec<Result<CheckSettings, String>> {
    let plan = plan(text);
    let probes = Probes::new(&plan);
    let mut all = Vec::new();
    for service in &plan.services {
        for (server, beside) in service.servers() {
            all.extend(beside.checks.iter().map(|check| probes.of(service, server, check)));
        }
    }
    all
}

#[track_caller]
fn one(text: &str) -> CheckSettings {
    let [made] = all(text).try_into().expect("one check");
    made.expect("a probe")
}

#[track_caller]
fn settings(check: &str) -> CheckSettings {
    one(&text("", check))
}

#[track_caller]
fn refusal(check: &str) -> String {
    let [made] = all(&text("", check)).try_into().expect("one check");
    made.expect_err("no probe")
}

fn here() -> Target {
    Target::new(SocketAddr::from(([10, 0, 1, 1], 8080)))
}

/// keepalived's defaults.
fn usual() -> Cadence {
    Cadence::default()
}

fn of_http(check: &str) -> HttpCheck {
    match settings(check).probe {
        Probe::Http(http) => http,
        other => panic!("{other:?}"),
    }
}

#[test]
fn tcp_check_has_the_defaults_of_keepalived() {
    let probe = Probe::Tcp(TcpCheck { target: here(), deadlines: Deadlines::of_step(SECOND * 5) });
    assert_eq!(settings("TCP_CHECK {\n}"), CheckSettings { probe, cadence: usual() });
}

#[test]
fn every_option_of_a_socket_reaches_the_target() {
    let made = settings(
        "TCP_CHECK {\nconnect_ip 10.0.2.2\nconnect_port 81\nbindto 10.0.3.3\nbind_port 5000\nbind_if eth0\n\
         fwmark 7\nconnect_timeout 2.5\n}",
    );
    let target = Target {
        address: SocketAddr::from(([10, 0, 2, 2], 81)),
        bind: Some([10, 0, 3, 3].into()),
        towards: None,
        bind_port: Some(5000),
        interface: Some("eth0".into()),
        mark: 7,
    };
    let deadlines = Deadlines::of_step(Duration::from_millis(2_500));
    assert_eq!(made.probe, Probe::Tcp(TcpCheck { target, deadlines }));
}

#[test]
fn check_vip_goes_to_the_address_of_the_service_with_the_mark_of_the_server() {
    let direct = |check: &str| text("", check).replace("NAT", "DR").replace("8080", "80");
    let plan =
        plan(&direct("HTTP_GET {\ncheck_vip\nurl {\n}\n}\nTCP_CHECK {\ncheck_vip\nbindto 10.0.3.3\n}"));
    let probes = Probes::new(&plan);
    let (server, beside) = plan.services[0].servers().next().expect("a server");
    let mark = server.mark.expect("a mark").get();
    let made = |at: usize| probes.of(&plan.services[0], server, &beside.checks[at]).expect("a probe").probe;
    let (Probe::Http(http), Probe::Tcp(tcp)) = (made(0), made(1)) else { panic!("others") };
    let vip = SocketAddr::from(([10, 0, 0, 9], 80));
    let own = Target { towards: Some([10, 0, 1, 1].into()), mark, ..Target::new(vip) };
    assert_eq!(http.target, own);
    assert_eq!(http.pages, Pages::from(Page::new(HostHeader::from(vip), "/".parse().expect("a path"))));
    assert_eq!(tcp.target, Target { bind: Some([10, 0, 3, 3].into()), ..own });
}

#[test]
fn check_vip_needs_an_address_of_the_family_of_the_server() {
    let tunnel = text("", "TCP_CHECK {\ncheck_vip\n}")
        .replace("NAT", "TUN")
        .replace("10.0.1.1 8080", "2001:db8::1 80");
    let [made] = all(&tunnel).try_into().expect("one check");
    assert_eq!(
        made.expect_err("no probe"),
        "`check_vip`: TCP 10.0.0.9:80 has no address of the family of 2001:db8::1"
    );
}

#[test]
fn pace_comes_from_the_innermost_that_speaks() {
    let made = one(&text(
        "delay_loop 10\nretry 4\nalpha",
        "delay_before_retry 2\nTCP_CHECK {\nwarmup 0\nlog_all_failures\nrise 3\n}",
    ));
    let cadence = Cadence {
        interval: SECOND * 10,
        retry: 4,
        retry_interval: SECOND * 2,
        down_interval: SECOND * 10,
        rise: NonZeroU32::new(3).expect("three"),
        warmup: Duration::ZERO,
        start: Health::Down,
        report_all_failures: true,
        ..usual()
    };
    assert_eq!(made.cadence, cadence);
    assert_eq!(settings("retry 5\nTCP_CHECK {\nfall 3\n}").cadence, Cadence { retry: 2, ..usual() });
}

#[test]
fn http_get_waits_the_longer_of_both_pauses_while_the_server_is_down() {
    let of = |lines: &str| settings(&format!("HTTP_GET {{\n{lines}\nurl {{\npath /\n}}\n}}")).cadence;
    let http = Cadence { retry_interval: SECOND * 3, ..usual() };
    assert_eq!(of(""), http);
    assert_eq!(
        of("delay_before_retry 90\nfast_recovery"),
        Cadence { retry_interval: SECOND * 90, down_interval: SECOND * 90, fast_recovery: true, ..usual() }
    );
    assert_eq!(
        of("delay_loop 2"),
        Cadence { interval: SECOND * 2, down_interval: SECOND * 3, warmup: SECOND * 2, ..http }
    );
}

#[test]
fn pages_have_host_path_statuses_digest_and_pattern() {
    let http = of_http(
        "virtualhost rs.example\nHTTP_GET {\nhttp_protocol 1.0C\n\
         url {\npath \"/two words?x=1\"\nstatus_code 200-204 301\ndigest 640205B7B0FC66C1EA91C463FAC6334D\n}\n\
         url {\npath /b\nvirtualhost b.example:81\nregex x\nregex_no_match\n\
         regex_options caseless firstline no_auto_capture\nregex_min_offset 5\nregex_max_offset 9\n}\n}",
    );
    let host = |text: &str| text.parse::<HostHeader>().expect("a host");
    let options = PatternOptions {
        wanted: PatternWanted::Absent,
        min_offset: 5,
        max_offset: Some(9),
        caseless: true,
        first_line: true,
        ..PatternOptions::default()
    };
    let first = Page {
        status: StatusCodes::from_iter([(200, 204), (301, 301)]),
        digest: Some("640205b7b0fc66c1ea91c463fac6334d".parse().expect("a digest")),
        ..Page::new(host("rs.example"), "/two%20words?x=1".parse().expect("a path"))
    };
    let second = Page {
        pattern: Some(Pattern::new("x", options).expect("a pattern")),
        ..Page::new(host("b.example:81"), "/b".parse().expect("a path"))
    };
    assert_eq!(http.pages, Pages::new(vec![first, second]).expect("pages"));
    assert_eq!((http.version, http.tls), (HttpVersion::Http10Close, None));
}

#[test]
fn without_virtualhost_the_host_is_what_is_connected_to() {
    let http = of_http("HTTP_GET {\nconnect_port 443\nurl {\n}\n}");
    let host = HostHeader::from(SocketAddr::from(([10, 0, 1, 1], 443)));
    assert_eq!(http.pages, Pages::from(Page::new(host, "/".parse().expect("a path"))));
}

#[test]
fn ssl_get_trusts_everybody_and_offers_http2_beside_http11_only() {
    let tls = |lines: &str| of_http(&format!("SSL_GET {{\n{lines}\n}}")).tls.expect("TLS");
    let plain = tls("url {\npath /\nvirtualhost v.example\n}");
    assert_eq!((plain.sni, plain.name.as_deref()), (Sni::Hide, None));
    assert_eq!(
        (&plain.tls.settings().trust, plain.tls.settings().protocols.as_slice()),
        (&Trust::Anyone, &[][..])
    );
    let new = tls("http_protocol 1.1\nurl {\n}");
    assert_eq!(new.tls.settings().protocols, [Application::Http2, Application::Http11]);
    let named = tls("sni_name s.example\nurl {\nvirtualhost a.example\n}\nurl {\nvirtualhost s.example\n}");
    assert_eq!((named.sni, named.name.as_deref()), (Sni::Tell, Some("s.example")));
    let hosts = tls("enable_sni\nurl {\nvirtualhost a.example\n}\nurl {\nvirtualhost b.example\n}");
    assert_eq!((hosts.sni, hosts.name.as_deref()), (Sni::Tell, None));
}

#[test]
fn tls_configurations_and_patterns_are_made_once() {
    let check = "SSL_GET {\nurl {\nregex a+b\n}\n}";
    let plan = plan(&text("", &format!("{check}\n{check}")));
    let probes = Probes::new(&plan);
    let service = &plan.services[0];
    let (server, beside) = service.servers().next().expect("a server");
    let made: Vec<_> =
        beside.checks.iter().map(|check| probes.of(service, server, check).expect("a probe")).collect();
    assert_eq!(made[0], made[1]);
    let again = Probes::new(&plan);
    assert_eq!(
        again.of(service, server, &beside.checks[0]).as_ref(),
        Ok(&made[0]),
        "a reload changes nothing"
    );
}

/// Certificates of a directory that is there for one test, as `SSL` names them.
struct Certificates(tempfile::TempDir);

impl Certificates {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, content) in files {
            std::fs::write(directory.path().join(name), content).expect("a file");
        }
        Self(directory)
    }

    fn tls(&self, lines: &str) -> Result<buoy_healthcheck::Tls, String> {
        let lines = lines.replace("DIR", &self.0.path().display().to_string());
        let check = text("", "SSL_GET {\nurl {\n}\n}");
        let [made] = all(&format!("SSL {{\n{lines}\n}}\n{check}")).try_into().expect("one check");
        match made.map_err(|why| why.replace(&self.0.path().display().to_string(), "DIR"))?.probe {
            Probe::Http(HttpCheck { tls: Some(tls), .. }) => Ok(tls.tls),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn ssl_block_says_who_is_trusted_and_what_is_shown() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(["client.example".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate").pem();
    let key = key.serialize_pem();
    let both = format!("{key}{certificate}");
    let other = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    let files = [
        ("cert", certificate.as_str()),
        ("key", key.as_str()),
        ("other", other.as_str()),
        ("both", both.as_str()),
        ("empty", ""),
    ];
    let files = Certificates::new(&files);
    let shown = files.tls("ca DIR/cert\ncertificate DIR/cert\nkey DIR/key").expect("TLS");
    assert!(matches!(&shown.settings().trust, Trust::Authorities(known) if known.len() == 1));
    assert_eq!(shown.settings().identity.as_ref().map(|identity| identity.chain.len()), Some(1));
    let alone = files.tls("certificate DIR/both").expect("TLS");
    assert_eq!(alone.settings().identity, shown.settings().identity);
    assert_eq!(alone.settings().trust, Trust::Anyone);
    for (lines, why) in [
        ("ca DIR/none", "`SSL`: ca DIR/none: No such file or directory"),
        ("ca DIR/empty", "`SSL`: ca DIR/empty: no certificate in it, which has to be PEM"),
        (
            "certificate DIR/cert",
            "`SSL`: certificate DIR/cert: no private key in it: name its file with `key`",
        ),
        (
            "certificate DIR/cert\nkey DIR/other",
            "`SSL`: key DIR/other: the client certificate does not fit its key: keys may not be consistent: KeyMismatch; \
             a certificate is shown with the key that it was made for",
        ),
        ("certificate DIR/cert\nkey DIR/none", "`SSL`: key DIR/none: No such file or directory"),
    ] {
        assert_eq!(files.tls(lines).expect_err("unusable"), why);
    }
}

/// Made by OpenSSL 3.0 for this test alone, with the password `secret`:
///
/// ```text
/// openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout plain.pem -out certificate.pem \
///     -days 36500 -subj /CN=client.example
/// openssl pkcs8 -topk8 -in plain.pem -out aes.pem
/// openssl pkcs8 -topk8 -in plain.pem -v2 des3 -v2prf hmacWithSHA1 -out des3.pem
/// openssl pkcs8 -topk8 -in plain.pem -scrypt -out scrypt.pem
/// openssl pkcs8 -topk8 -in plain.pem -v1 PBE-SHA1-3DES -out pbes1.pem
/// openssl ec -in plain.pem -aes256 -out traditional.pem
/// ```
const KEYS: [(&str, &str); 7] = [
    ("certificate", include_str!("keys/certificate.pem")),
    ("plain", include_str!("keys/plain.pem")),
    ("aes", include_str!("keys/aes.pem")),
    ("des3", include_str!("keys/des3.pem")),
    ("scrypt", include_str!("keys/scrypt.pem")),
    ("pbes1", include_str!("keys/pbes1.pem")),
    ("traditional", include_str!("keys/traditional.pem")),
];

#[test]
fn a_key_that_a_password_protects_is_opened_with_it() {
    let certificate = KEYS[0].1;
    let bundles =
        KEYS.map(|(name, key)| (format!("{name}.bundle"), format!("of a client\r\n{certificate}{key}")));
    let bundles = bundles.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let files = Certificates::new(&KEYS.into_iter().chain(bundles).collect::<Vec<_>>());
    let identity = |lines: &str| {
        let tls = files.tls(lines).unwrap_or_else(|why| panic!("{lines}: {why}"));
        tls.settings().identity.clone()
    };
    let plain = identity("certificate DIR/certificate\nkey DIR/plain");
    for name in ["plain", "aes", "des3", "scrypt"] {
        let lines = format!("certificate DIR/certificate\nkey DIR/{name}\npassword secret");
        assert_eq!(identity(&lines), plain, "{name}");
        assert_eq!(identity(&format!("certificate DIR/{name}.bundle\npassword secret")), plain, "{name}");
    }
    let convert =
        |name: &str| format!("`openssl pkcs8 -topk8 -in DIR/{name} -out NEW` writes one that can be read");
    for (lines, why) in [
        ("key DIR/aes", "a password protects it: give it with `password`".to_owned()),
        ("key DIR/aes\npassword wrong", "`password` does not open it".to_owned()),
        (
            "key DIR/traditional\npassword secret",
            format!(
                "a password protects it in the traditional form of PEM, which cannot be read: {}",
                convert("traditional")
            ),
        ),
    ] {
        let told = files.tls(&format!("certificate DIR/certificate\n{lines}")).expect_err("unusable");
        assert!(told.ends_with(&format!(": {why}")), "{told}");
    }
    let told =
        files.tls("certificate DIR/certificate\nkey DIR/pbes1\npassword secret").expect_err("unusable");
    assert!(told.contains("a password protects it in a way that is not known ("), "{told}");
    assert!(told.ends_with(&convert("pbes1")), "{told}");
    assert!(!told.contains("secret"), "{told}");
}

#[test]
fn what_cannot_be_checked_is_told_in_words() {
    let page = |lines: &str| refusal(&format!("HTTP_GET {{\nurl {{\n{lines}\n}}\n}}"));
    assert_eq!(page("path index.html"), "\"index.html\" cannot be a path");
    assert_eq!(page("virtualhost \"a b\""), "\"a b\" cannot be a host");
    assert_eq!(page("regex a\nregex_options nonsense"), "regex option `nonsense`, which nobody knows");
    assert_eq!(
        page("regex a\nregex_options alt_bsux"),
        "regex option `alt_bsux`, which gives the pattern another grammar than is known here"
    );
    assert_eq!(
        page("regex \"(?=a)\""),
        "regex \"(?=a)\": look-around, including look-ahead and look-behind, is not supported: write it without, or look \
         with a MISC_CHECK"
    );
    assert_eq!(page("regex \"(a\""), "regex \"(a\": unclosed group");
    assert_eq!(refusal("SMTP_CHECK {\nhelo_name \"a b\"\n}"), "\"a b\" cannot be a name in HELO");
    let long = "a".repeat(70);
    assert_eq!(
        refusal(&format!("DNS_CHECK {{\nname {long}.example\n}}")),
        format!("\"{long}.example\" is not a domain name")
    );
}

#[test]
fn smtp_dns_ping_and_agent_have_their_words() {
    let deadlines = Deadlines::default();
    let smtp = SmtpCheck { target: here(), deadlines, helo: HeloName::new("me").expect("a name") };
    assert_eq!(
        settings("SMTP_CHECK {\nhelo_name me\n}"),
        CheckSettings { probe: Probe::Smtp(smtp), cadence: usual() }
    );
    let dns = |question| Probe::Dns(DnsCheck { target: here(), deadlines, question, expected: None });
    let patient = Cadence { retry: 3, retry_interval: MINUTE, ..usual() };
    assert_eq!(
        settings("DNS_CHECK {\ntype mx\nname example.net\n}"),
        CheckSettings {
            probe: dns(Question::new("example.net", "MX").expect("a question")),
            cadence: patient
        }
    );
    assert_eq!(settings("DNS_CHECK {\n}").probe, dns(Question::default()));
    let Probe::Dns(asked) = settings("DNS_CHECK {\ntype A\nname a.example\nanswer 10.0.0.7\n}").probe else {
        panic!("another probe");
    };
    assert_eq!(asked.expected.as_deref(), Some("10.0.0.7"));
    let ping = Probe::Ping(PingCheck { target: here(), deadlines });
    assert_eq!(settings("PING_CHECK {\n}"), CheckSettings { probe: ping, cadence: usual() });
    let send: Option<Arc<[u8]>> = Some(Arc::from(*b"hello there"));
    let agent = Probe::Agent(AgentCheck { target: here(), deadlines, send });
    assert_eq!(settings("AGENT_CHECK {\nsend \"hello there\"\n}").probe, agent);
}

#[test]
fn udp_check_says_what_it_sends_and_what_it_wants() {
    let Probe::Udp(plain) = settings("UDP_CHECK {\n}").probe else { panic!("not UDP") };
    assert_eq!((plain.payload, plain.reply), (UdpCheck::default_payload(), None));
    let lines = "payload 0aFF\nrequire_reply x1 0x\nmin_reply_length 1\nmax_reply_length 9";
    let Probe::Udp(udp) = settings(&format!("UDP_CHECK {{\n{lines}\n}}")).probe else { panic!("not UDP") };
    assert_eq!(*udp.payload, [0x0a, 0xff]);
    let pattern = "x10x".parse().expect("a pattern");
    assert_eq!(udp.reply, Some(WantedReply { pattern, min_length: 1, max_length: 9 }));
    let Probe::Udp(any) = settings("UDP_CHECK {\nrequire_reply\n}").probe else { panic!("not UDP") };
    assert_eq!(any.reply, Some(WantedReply::default()));
}

fn misc(check: &str) -> (CommandCheck, Cadence) {
    let CheckSettings { probe: Probe::Command(command), cadence } = one(check) else { panic!("not MISC") };
    (command, cadence)
}

#[test]
fn misc_check_is_paced_from_its_start_and_may_take_as_long_as_its_service_pauses() {
    let of = |service: &str, check: &str| {
        misc(&text(service, &format!("MISC_CHECK {{\nmisc_path /bin/true\n{check}\n}}")))
    };
    let (plain, cadence) = of("", "");
    assert_eq!((plain.limit, plain.dynamic), (MINUTE, false));
    assert_eq!(cadence, Cadence { pace: Pace::FromStart, retry: 0, ..usual() });
    assert_eq!(of("delay_loop 7", "delay_loop 20").0.limit, SECOND * 7);
    let (dynamic, _) = of("", "misc_timeout 3\nmisc_dynamic");
    assert_eq!((dynamic.limit, dynamic.dynamic), (SECOND * 3, true));
}

#[test]
fn commands_are_the_same_with_the_same_words_and_user() {
    let of = |lines: &str| misc(&text("", &format!("MISC_CHECK {{\n{lines}\n}}"))).0;
    let command = of("misc_path \"/bin/x 'a b'\"");
    assert_eq!(command, of("misc_path \"/bin/x 'a b'\""));
    assert_ne!(command, of("misc_path \"/bin/x a b\""));
    assert_ne!(command, of("misc_path \"/bin/x 'a b'\"\nuser nobody"));
}

#[test]
fn file_check_reads_the_tracked_file_every_second() {
    let check = text("", "delay_loop 10\nretry 3\nFILE_CHECK {\ntrack_file f\nweight 5 reverse\n}");
    let made = one(&format!("track_file f {{\nfile /run/load\n}}\n{check}"));
    let rule = FileRule { weight: 5, reverse: true };
    let path = Arc::from(Path::new("/run/load"));
    assert_eq!(made.probe, Probe::File(FileCheck { path, rule, deadlines: Deadlines::default() }));
    let Cadence { interval, down_interval, retry, warmup, .. } = made.cadence;
    assert_eq!((interval, down_interval, retry, warmup), (SECOND, SECOND, 0, Duration::ZERO));
}

/// The settings of a check of this port on this host.
fn local(port: u16, check: &str) -> CheckSettings {
    one(&text("", check).replace("10.0.1.1 8080", &format!("127.0.0.1 {port}")))
}

#[tokio::test]
async fn configured_tcp_check_connects() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let made = local(listener.local_addr().expect("an address").port(), "TCP_CHECK {\nbindto 127.0.0.2\n}");
    assert!(matches!(made.probe.attempt(0).await, Outcome::Up(_)));
    let (_, from) = listener.accept().expect("a connection");
    assert_eq!(from.ip().to_string(), "127.0.0.2");
}

#[tokio::test]
async fn configured_http_check_asks_for_its_page() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            std::io::Read::read_exact(&mut stream, &mut byte).expect("a request");
            head.extend(byte);
        }
        stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nOK\n").expect("a response");
        String::from_utf8(head).expect("text")
    });
    let made = local(port, "HTTP_GET {\nurl {\npath /health\nregex ^OK$\n}\n}");
    assert!(matches!(made.probe.attempt(0).await, Outcome::Up(_)));
    let request = server.join().expect("a request");
    let lines: Vec<_> = request.lines().collect();
    assert_eq!(lines[0], "GET /health HTTP/1.0");
    assert!(lines.contains(&format!("Host: 127.0.0.1:{port}").as_str()), "{request}");
}

#[tokio::test]
async fn configured_command_says_the_weight_and_is_ended_when_it_is_late() {
    let of = |script: &str, lines: &str| {
        let path = format!("misc_path \"/bin/sh -c '{script}'\"");
        misc(&text("", &format!("MISC_CHECK {{\n{path}\n{lines}\n}}"))).0
    };
    let outcome = Probe::Command(of("exit 12", "misc_dynamic")).attempt(0).await;
    let Outcome::Up(findings) = outcome else { panic!("{outcome:?}") };
    assert_eq!(findings.weight, Some(WeightAdvice::Absolute(10)));
    let outcome = Probe::Command(of("sleep 600 & wait", "misc_timeout 1")).attempt(0).await;
    assert_eq!(outcome, Outcome::Down(Reason::CommandTimedOut(SECOND)));
    let absent = Probe::Command(misc(&text("", "MISC_CHECK {\nmisc_path /no/such\n}")).0).attempt(0).await;
    assert_eq!(absent.to_string(), "the command did not start: No such file or directory");
}
