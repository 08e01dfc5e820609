//! Each checker against a server that does what it should, and what the wire carries meanwhile.

mod fixture;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use buoy_healthcheck::checker::agent::AgentCheck;
use buoy_healthcheck::checker::dns::{DnsCheck, Question};
use buoy_healthcheck::checker::file::{FileCheck, FileRule};
use buoy_healthcheck::checker::http::{HttpCheck, HttpVersion, Page, Pages, Pattern, PatternOptions};
use buoy_healthcheck::checker::ping::PingCheck;
use buoy_healthcheck::checker::smtp::{HeloName, SmtpCheck};
use buoy_healthcheck::checker::tcp::TcpCheck;
use buoy_healthcheck::{
    Administrative, Application, Findings, Outcome, Probe, Target, Trouble, Trust, WeightAdvice,
};
use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use fixture::*;

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn up() -> Outcome {
    Outcome::Up(Findings::default())
}

/// What the server saw: the head of the request and who sent it.
async fn seen(change: impl FnOnce(&mut HttpCheck)) -> (String, SocketAddr) {
    let requests = Arc::<Mutex<Vec<_>>>::default();
    let log = Arc::clone(&requests);
    let server = serve(move |mut stream| {
        let log = Arc::clone(&log);
        async move {
            let request = request(&mut stream).await;
            log.lock().unwrap().push((request, stream.peer_addr().unwrap()));
            send(&mut stream, HELLO.as_bytes()).await;
        }
    })
    .await;
    let mut check = http(server.address);
    change(&mut check);
    assert_eq!(attempt(check).await, up());
    let (request, from) = requests.lock().unwrap().remove(0);
    (request.replace(&server.address.to_string(), "SERVER"), from)
}

#[tokio::test]
async fn request_is_the_one_that_keepalived_sends() {
    let head = "User-Agent: KeepAliveClient\r\n";
    let cases = [
        (HttpVersion::Http10, format!("GET /health HTTP/1.0\r\n{head}Host: SERVER\r\n\r\n")),
        (
            HttpVersion::Http10Close,
            format!("GET /health HTTP/1.0\r\n{head}Connection: close\r\nHost: SERVER\r\n\r\n"),
        ),
        (
            HttpVersion::Http11,
            format!("GET /health HTTP/1.1\r\n{head}Connection: close\r\nHost: SERVER\r\n\r\n"),
        ),
    ];
    for (version, request) in cases {
        assert_eq!(seen(|check| check.version = version).await.0, request);
    }
}

#[tokio::test]
async fn virtualhost_and_query_are_sent_as_written() {
    let (request, _) = seen(|check| {
        check.pages = Page::new("www.example.org".parse().unwrap(), "/a?b=%20c".parse().unwrap()).into();
    })
    .await;
    assert!(request.starts_with("GET /a?b=%20c HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nHost: www.example.org\r\n"), "{request}");
}

#[tokio::test]
async fn probe_leaves_from_where_it_is_bound_to() {
    let free = TcpListener::bind("127.0.0.3:0").await.unwrap().local_addr().unwrap().port();
    let source: IpAddr = "127.0.0.3".parse().unwrap();
    // Twice in a row: the port must not rest.
    for _ in 0..2 {
        let (_, from) = seen(|check| {
            check.target.bind = Some(source);
            check.target.bind_port = Some(free);
            check.target.interface = Some("lo".into());
        })
        .await;
        assert_eq!(from, SocketAddr::new(source, free));
    }
    let (_, from) = seen(|check| check.target.bind = Some(source)).await;
    assert_eq!(from.ip(), source);
}

#[tokio::test]
async fn trouble_of_this_host_is_no_word_about_the_server() {
    let server = serve(|_| async {}).await;
    let tcp = |change: fn(&mut Target)| {
        let mut target = Target::new(server.address);
        change(&mut target);
        Probe::Tcp(TcpCheck { target, deadlines: deadlines() })
    };
    let troubles = [
        tcp(|target| target.interface = Some("no-such-one".into())),
        tcp(|target| target.bind = Some("192.0.2.1".parse().unwrap())),
        tcp(|target| target.bind = Some("::1".parse().unwrap())),
    ];
    for probe in troubles {
        let outcome = probe.attempt(0).await;
        assert!(matches!(outcome, Outcome::Undecided(Trouble::Socket(_))), "{outcome:?}");
    }
}

#[tokio::test]
async fn pages_are_told_apart_by_their_part() {
    let server = serve(|mut stream| async move {
        let good = request(&mut stream).await.starts_with("GET /good ");
        let status = if good { "200" } else { "404" };
        send(&mut stream, format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes()).await;
    })
    .await;
    let page = |path: &str| Page::new(server.address.into(), path.parse().unwrap());
    let check = Probe::Http(HttpCheck {
        pages: Pages::new(vec![page("/good"), page("/bad")]).unwrap(),
        ..http(server.address)
    });
    assert_eq!(check.parts().get(), 2);
    assert_eq!(check.attempt(0).await, up());
    assert_eq!(check.attempt(1).await.to_string(), "status 404, expected 200-299");
}

#[tokio::test]
async fn digest_and_pattern_see_the_decoded_body() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
    let server = answering(chunked).await;
    let page = Page {
        digest: Some("5d41402abc4b2a76b9719d911017c592".parse().unwrap()),
        pattern: Some(Pattern::new("l{2}o$", PatternOptions::default()).unwrap()),
        ..page(server.address)
    };
    assert_eq!(attempt(HttpCheck { pages: page.into(), ..http(server.address) }).await, up());
}

#[tokio::test]
async fn verified_server_tells_its_name_and_days() {
    let authority = Authority::new();
    let not_after = SystemTime::now() + std::time::Duration::from_secs(40 * 86_400 + 60);
    let leaf = authority.certificate("good.test", |params| params.not_after = not_after.into());
    let names = Arc::<Mutex<Vec<_>>>::default();
    let log = Arc::clone(&names);
    let server = serve_tls(&leaf, &[], move |mut stream| {
        let log = Arc::clone(&log);
        async move {
            log.lock().unwrap().push(stream.get_ref().1.server_name().map(str::to_owned));
            request(&mut stream).await;
            send(&mut stream, HELLO.as_bytes()).await;
        }
    })
    .await;
    for sni in [buoy_healthcheck::Sni::Tell, buoy_healthcheck::Sni::Hide] {
        let mut check = https(server.address, authority.trust(), "good.test", &[]);
        check.tls.as_mut().unwrap().sni = sni;
        let Outcome::Up(findings) = attempt(check).await else { panic!("up") };
        assert_eq!(findings.certificate.unwrap().days_left(SystemTime::now()), 40);
    }
    assert_eq!(*names.lock().unwrap(), [Some("good.test".to_owned()), None]);
}

#[tokio::test]
async fn http2_is_spoken_where_both_sides_know_it() {
    let leaf = self_signed("good.test");
    let server = serve_tls(&leaf, &[b"h2", b"http/1.1"], |stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            assert_eq!(request.uri().path(), "/health");
            let mut body = respond.send_response(http::Response::new(()), false).unwrap();
            // More than the window that the client opens with.
            body.send_data(vec![b'x'; 200_000].into(), true).unwrap();
        }
    })
    .await;
    let offered = [Application::Http2, Application::Http11];
    let check = https(server.address, Trust::Anyone, "good.test", &offered);
    assert!(matches!(attempt(check).await, Outcome::Up(_)));
}

#[tokio::test]
async fn smtp_server_is_greeted_and_taken_leave_of() {
    let said = Arc::<Mutex<Vec<String>>>::default();
    let log = Arc::clone(&said);
    let server = serve(move |mut stream| {
        let log = Arc::clone(&log);
        async move {
            // A banner in segments, which keepalived takes for two replies.
            send(&mut stream, b"220-mail.test\r\n").await;
            tokio::task::yield_now().await;
            send(&mut stream, b"220 ready\r\n").await;
            let (reader, mut writer) = stream.split();
            let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(reader));
            for reply in ["250 hello\r\n", "221 bye\r\n"] {
                let line = lines.next_line().await.unwrap().unwrap();
                log.lock().unwrap().push(line);
                send(&mut writer, reply.as_bytes()).await;
            }
        }
    })
    .await;
    let check = SmtpCheck {
        target: Target::new(server.address),
        deadlines: deadlines(),
        helo: HeloName::new("lb.test").unwrap(),
    };
    assert_eq!(Probe::Smtp(check).attempt(0).await, up());
    assert_eq!(*said.lock().unwrap(), ["HELO lb.test", "QUIT"]);
}

/// The answer to `query`: an address, or over UDP nothing but the word that it was cut.
fn dns_answer(query: &[u8], truncated: bool) -> Vec<u8> {
    let query = Message::from_vec(query).unwrap();
    assert!(query.metadata.recursion_desired);
    let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    answer.add_query(query.queries[0].clone());
    answer.metadata.truncation = truncated;
    if !truncated {
        let name = Name::from_ascii("www.test.").unwrap();
        answer.add_answer(Record::from_rdata(name, 60, RData::A(A::new(192, 0, 2, 7))));
    }
    answer.to_vec().unwrap()
}

#[tokio::test]
async fn truncated_dns_answer_is_fetched_over_tcp() {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    let server = tokio::spawn(async move {
        let mut query = [0; 512];
        loop {
            tokio::select! {
                received = udp.recv_from(&mut query) => {
                    let (length, from) = received.unwrap();
                    udp.send_to(&dns_answer(&query[..length], true), from).await.unwrap();
                }
                accepted = tcp.accept() => {
                    let (mut stream, _) = accepted.unwrap();
                    let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
                    stream.read_exact(&mut query).await.unwrap();
                    let answer = dns_answer(&query, false);
                    stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            }
        }
    });
    let asked = |expected: Option<&str>| {
        Probe::Dns(DnsCheck {
            target: Target::new(address),
            deadlines: deadlines(),
            question: Question::new("www.test", "A").unwrap(),
            expected: expected.map(Arc::from),
        })
    };
    assert_eq!(asked(None).attempt(0).await, up());
    assert_eq!(asked(Some("192.0.2.7")).attempt(0).await, up());
    assert_eq!(
        asked(Some("192.0.2.8")).attempt(0).await.to_string(),
        "DNS answer 192.0.2.7, expected 192.0.2.8"
    );
    server.abort();
}

#[tokio::test]
async fn host_answers_pings_of_both_families() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let target = Target::new(address.parse().unwrap());
        let outcome = Probe::Ping(PingCheck { target, deadlines: deadlines() }).attempt(0).await;
        match outcome {
            // Neither a ping socket nor a raw one, or no IPv6: nothing to be seen here.
            Outcome::Undecided(_) => {}
            outcome => assert_eq!(outcome, up(), "{address}"),
        }
    }
}

#[tokio::test]
async fn server_over_ipv6_is_asked_by_its_address_in_brackets() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else { return };
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = request(&mut stream).await;
        send(&mut stream, HELLO.as_bytes()).await;
        request
    });
    let mut check = http(address);
    check.target.bind = Some(address.ip());
    assert_eq!(attempt(check).await, up());
    let host = format!("\r\nHost: [::1]:{}\r\n", address.port());
    assert!(server.await.unwrap().contains(&host));
}

#[tokio::test]
async fn agent_is_sent_its_words_and_heard() {
    let server = serve(|mut stream| async move {
        let mut asked = [0; 4];
        stream.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"how?");
        send(&mut stream, b"up 40% drain\n").await;
        wait_for_end(&mut stream).await;
    })
    .await;
    let check = AgentCheck {
        target: Target::new(server.address),
        deadlines: deadlines(),
        send: Some(Arc::from(*b"how?")),
    };
    let findings = Findings {
        weight: Some(WeightAdvice::Percent(40)),
        administrative: Some(Administrative::Drain),
        certificate: None,
    };
    assert_eq!(Probe::Agent(check).attempt(0).await, Outcome::Up(findings));
}

#[tokio::test]
async fn file_is_read_anew_and_its_absence_says_zero() -> io::Result<()> {
    let path = std::env::temp_dir().join(format!("buoy-healthcheck-{}", std::process::id()));
    let rule = FileRule { weight: 0, reverse: false };
    let probe = Probe::File(FileCheck { path: Arc::from(path.as_path()), rule, deadlines: deadlines() });
    assert!(matches!(probe.attempt(0).await, Outcome::Up(_)));
    std::fs::write(&path, "1\n")?;
    assert_eq!(probe.attempt(0).await.to_string(), "file says 1");
    std::fs::write(&path, "soon\n")?;
    assert_eq!(probe.attempt(0).await.to_string(), "file does not hold a number: \"soon\"");
    std::fs::remove_file(&path)
}

#[tokio::test]
async fn probe_of_a_port_that_nobody_listens_on_never_meets_itself() {
    // A closed port among those that the kernel hands out: sooner or later one connects to itself.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut target = Target::new(free);
    target.bind = Some(free.ip());
    target.bind_port = Some(free.port());
    let probe = Probe::Tcp(TcpCheck { target, deadlines: deadlines() });
    assert_eq!(probe.attempt(0).await.to_string(), "connection refused");
}
