use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use buoy_vrrp::Cause;

use super::*;
use crate::alert::fixture::{group, instance, plan, quorum, router, server_change, tcp_service, transition};
use crate::config::plan::Plan;

const QUICK: Retry = Retry { tries: 3, first: Duration::from_millis(5), longest: Duration::from_millis(5) };

/// A relay on loopback. Answers RCPT with the words it is given, one after the other, then with 250; hands
/// over what it heard of every connection.
struct Relay {
    port: u16,
    heard: mpsc::UnboundedReceiver<Vec<String>>,
}

impl Relay {
    async fn answering(answers: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("bound").port();
        let (sender, heard) = mpsc::unbounded_channel();
        let mut answers = answers.iter().copied();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answers.next().unwrap_or("250 fine");
                if sender.send(converse(BufReader::new(stream), answer).await).is_err() {
                    break;
                }
            }
        });
        Self { port, heard }
    }

    async fn next(&mut self) -> Vec<String> {
        let next = timeout(Duration::from_secs(20), self.heard.recv());
        next.await.expect("somebody calls").expect("the relay runs")
    }
}

async fn converse(mut stream: BufReader<tokio::net::TcpStream>, rcpt_answer: &str) -> Vec<String> {
    let mut heard = Vec::new();
    let mut answer = "220 relay";
    let mut in_data = false;
    loop {
        if !answer.is_empty() && stream.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
            return heard;
        }
        let mut line = String::new();
        match stream.read_line(&mut line).await {
            Ok(1..) => {}
            _ => return heard,
        }
        let line = line.trim_end().to_owned();
        answer = match (in_data, line.split([' ', ':']).next().unwrap_or_default()) {
            (true, ".") => {
                in_data = false;
                "250 taken"
            }
            (true, _) => "",
            (false, "DATA") => {
                in_data = true;
                "354 go on"
            }
            (false, "RCPT") => rcpt_answer,
            (false, "QUIT") => "221 bye",
            (false, _) => "250 fine",
        };
        heard.push(line);
    }
}

fn with_mail(port: u16) -> Plan {
    let mut plan = plan();
    plan.global.mail.server = Some(("127.0.0.1".into(), port));
    plan.global.mail.helo_name = Some("helo.example".into());
    plan.global.mail.to = vec!["first@example.org".into(), "Second <second@example.org>".into()];
    plan.global.mail.connect_timeout = Duration::from_secs(10);
    plan.routers = vec![router("VI_1")];
    plan.routers[0].smtp_alert = true;
    plan
}

/// A mailer at work on the settings of a plan.
struct Bench {
    mailer: Arc<Mailer>,
    settings: Arc<Settings>,
    phase: watch::Sender<Phase>,
    task: tokio::task::JoinHandle<()>,
}

impl Bench {
    fn new(plan: &Plan) -> Self {
        let mailer = Arc::new(Mailer::with_retry(QUICK));
        let settings = Arc::new(Settings::new(plan, None));
        let phase = watch::Sender::new(Phase::Open);
        let (working, current, watching) = (Arc::clone(&mailer), Arc::clone(&settings), phase.subscribe());
        let task = tokio::spawn(async move { working.run(|| Arc::clone(&current), watching).await });
        Self { mailer, settings, phase, task }
    }

    fn announce(&self, subject: buoy_vrrp::Subject, state: State) {
        let transition = transition(subject, State::Backup, state, Cause::Owner);
        self.mailer.announce(&transition, state, &self.settings);
    }

    fn announce_change(&self, change: &ServiceChange) {
        let label = self.settings.services[&change.service].label();
        self.mailer.announce_change(change, label, &self.settings);
    }

    async fn finish(self) {
        self.phase.send_replace(Phase::Flushing);
        timeout(Duration::from_secs(20), self.task).await.expect("ends").expect("without panic");
    }
}

fn subject_of(heard: &[String]) -> Option<&str> {
    heard.iter().find_map(|line| line.strip_prefix("Subject: "))
}

/// Long ones are continued on further lines.
fn unfolded_subject(heard: &[String]) -> String {
    let mut lines = heard.iter().skip_while(|line| !line.starts_with("Subject: "));
    let first = lines.next().and_then(|line| line.strip_prefix("Subject: ")).unwrap_or_default();
    lines.take_while(|line| line.starts_with(' ')).fold(first.to_owned(), |subject, line| subject + line)
}

#[tokio::test]
async fn a_letter_has_the_envelope_the_headers_and_the_cause() {
    let mut relay = Relay::answering(&[]).await;
    let bench = Bench::new(&with_mail(relay.port));
    bench.announce(instance("VI_1"), State::Master);
    let heard = relay.next().await;
    for expected in [
        "EHLO helo.example",
        "RCPT TO:<first@example.org>",
        "RCPT TO:<second@example.org>",
        "From: buoy@director-a.example",
        "To: first@example.org, Second <second@example.org>",
        "Subject: [director-a] VRRP Instance VI_1 - Entering MASTER state",
        "X-Mailer: Buoy",
        "=> The instance owns the virtual addresses now <=",
        "instance VI_1: BACKUP -> MASTER: address owner (priority 255) (backup for",
        "12.3 s, priority 100)",
    ] {
        assert!(heard.iter().any(|line| line == expected), "{expected:?} in {heard:#?}");
    }
    assert!(heard.iter().any(|line| line.starts_with("MAIL FROM:<buoy@director-a.example>")));
    assert!(heard.iter().any(|line| line.starts_with("Date: ")));
    bench.finish().await;
}

#[tokio::test]
async fn subjects_name_the_news_of_instances_and_groups() {
    let mut plan = with_mail(25);
    plan.groups = vec![group("G")];
    let named = |subject, state| {
        let transition = transition(subject, State::Backup, state, Cause::Shutdown);
        Letter::about(&transition, state, "ID").subject
    };
    assert_eq!(named(instance("A"), State::Stop), "[ID] VRRP Instance A - Stopping");
    assert_eq!(named(instance("A"), State::Deleted), "[ID] VRRP Instance A - Deleted");
    assert_eq!(
        named(buoy_vrrp::Subject::Group("G".into()), State::Fault),
        "[ID] VRRP Group G - Entering FAULT state"
    );
}

#[tokio::test]
async fn the_same_state_is_not_mailed_twice_in_a_row_nor_faults_that_nobody_wants() {
    let mut relay = Relay::answering(&[]).await;
    let mut plan = with_mail(relay.port);
    plan.global.mail.no_faults = true;
    plan.routers.push(router("unwanted"));
    let bench = Bench::new(&plan);
    for state in [State::Backup, State::Backup, State::Fault, State::Backup, State::Master] {
        bench.announce(instance("VI_1"), state);
    }
    bench.announce(instance("unwanted"), State::Master);
    let subjects = [relay.next().await, relay.next().await];
    let expected =
        ["BACKUP", "MASTER"].map(|state| format!("[director-a] VRRP Instance VI_1 - Entering {state} state"));
    assert_eq!(
        subjects.each_ref().map(|heard| subject_of(heard).unwrap_or_default()),
        expected.each_ref().map(|s| s.as_str())
    );
    bench.finish().await;
    assert!(relay.heard.try_recv().is_err());
}

#[tokio::test]
async fn letters_about_services_have_keepalived_s_subjects_and_the_reason() {
    let mut relay = Relay::answering(&[]).await;
    let mut plan = with_mail(relay.port);
    plan.services = vec![tcp_service(&["10.1.0.1:80"])];
    let bench = Bench::new(&plan);
    bench.announce_change(&server_change("10.1.0.1:80", false, "connection refused"));
    let heard = relay.next().await;
    let expected = "[director-a] Realserver [10.1.0.1]:tcp:80 of virtual server [10.0.0.1]:tcp:80 - DOWN";
    assert_eq!(unfolded_subject(&heard), expected);
    for expected in
        ["=> connection refused <=", "real server 10.1.0.1:80 of TCP 10.0.0.1:80 is down: connection refused"]
    {
        assert!(heard.iter().any(|line| line == expected), "{expected:?} in {heard:#?}");
    }
    bench.announce_change(&quorum(false, "weight 0 of 1 needed"));
    let heard = relay.next().await;
    assert_eq!(unfolded_subject(&heard), "[director-a] Virtualserver [10.0.0.1]:tcp:80 - DOWN");
    assert!(heard.iter().any(|line| line == "=> weight 0 of 1 needed <="), "{heard:#?}");
    bench.finish().await;
}

#[tokio::test]
async fn each_server_has_a_state_that_is_not_mailed_twice_in_a_row() {
    let mut relay = Relay::answering(&[]).await;
    let mut plan = with_mail(relay.port);
    plan.services = vec![tcp_service(&["10.1.0.1:80", "10.1.0.2:80"])];
    let bench = Bench::new(&plan);
    let changes =
        [("10.1.0.1:80", false), ("10.1.0.1:80", false), ("10.1.0.2:80", false), ("10.1.0.1:80", true)];
    for (server, up) in changes {
        bench.announce_change(&server_change(server, up, "told"));
    }
    for (server, news) in [("10.1.0.1", "DOWN"), ("10.1.0.2", "DOWN"), ("10.1.0.1", "UP")] {
        let expected =
            format!("[director-a] Realserver [{server}]:tcp:80 of virtual server [10.0.0.1]:tcp:80 - {news}");
        assert_eq!(unfolded_subject(&relay.next().await), expected);
    }
    bench.finish().await;
    assert!(relay.heard.try_recv().is_err());
}

#[test]
fn what_was_mailed_is_forgotten_with_the_server_one_reload_after_it_has_gone() {
    let mut plan = with_mail(25);
    plan.services = vec![tcp_service(&["10.1.0.1:80", "10.1.0.2:80"])];
    let before = Settings::new(&plan, None);
    let mailer = Mailer::new();
    for server in ["10.1.0.1:80", "10.1.0.2:80"] {
        let label = before.services["TCP 10.0.0.1:80"].label();
        mailer.announce_change(&server_change(server, false, "gone"), label, &before);
    }
    plan.services = vec![tcp_service(&["10.1.0.1:80"])];
    let departed = Settings::new(&plan, Some(&before));
    mailer.adapt(&departed);
    assert_eq!(mailer.mailed().len(), 2);
    mailer.adapt(&Settings::new(&plan, Some(&departed)));
    assert_eq!(mailer.mailed().len(), 1);
}

#[tokio::test]
async fn a_passing_refusal_is_tried_again() {
    let mut relay = Relay::answering(&["451 come back later", "451 not yet"]).await;
    let bench = Bench::new(&with_mail(relay.port));
    bench.announce(instance("VI_1"), State::Master);
    assert_eq!(subject_of(&relay.next().await), None);
    assert_eq!(subject_of(&relay.next().await), None);
    assert!(subject_of(&relay.next().await).is_some());
    bench.finish().await;
}

#[tokio::test]
async fn a_lasting_refusal_is_given_up_and_the_next_letter_goes_out() {
    let mut relay = Relay::answering(&["550 no such user"]).await;
    let bench = Bench::new(&with_mail(relay.port));
    bench.announce(instance("VI_1"), State::Master);
    bench.announce(instance("VI_1"), State::Backup);
    assert_eq!(subject_of(&relay.next().await), None);
    let expected = "[director-a] VRRP Instance VI_1 - Entering BACKUP state";
    assert_eq!(subject_of(&relay.next().await), Some(expected));
    bench.finish().await;
}

#[tokio::test]
async fn a_relay_that_is_not_there_does_not_keep_the_daemon() {
    let port = TcpListener::bind("127.0.0.1:0").await.expect("binds").local_addr().expect("bound").port();
    let bench = Bench::new(&with_mail(port));
    for state in [State::Master, State::Backup, State::Stop] {
        bench.announce(instance("VI_1"), state);
    }
    bench.finish().await;
}

#[tokio::test]
async fn letters_beyond_the_queue_push_the_oldest_out() {
    let plan = with_mail(25);
    let settings = Settings::new(&plan, None);
    let mailer = Mailer::new();
    for round in 0..CAPACITY + 10 {
        let state = if round % 2 == 0 { State::Master } else { State::Backup };
        let transition = transition(instance("VI_1"), State::Backup, state, Cause::Owner);
        mailer.announce(&transition, state, &settings);
    }
    assert_eq!((mailer.len(), mailer.outbox.dropped()), (CAPACITY, 10));
}

#[test]
fn bare_users_get_a_host_and_nonsense_is_an_error() {
    let mail = with_mail(25).global.mail;
    assert_eq!(mailbox("root", &mail).expect("a mailbox").to_string(), "root@helo.example");
    assert!(mailbox("a b@@c", &mail).is_err());
}
