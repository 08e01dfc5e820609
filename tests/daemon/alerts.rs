//! What people and programs are told, and that telling them delays no advertisement.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, SystemTime};

use buoy::lab::Host;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use crate::bench::{Conf, Director, SOON, alone, longest_gap, pair, vip, wait_for_advertisements};
use crate::lab::wait_until;

#[test]
fn scripts_get_their_arguments_in_order_and_stop_at_the_end() {
    let mut one = alone();
    let hook = |word: &str| one.script(word, &format!("echo {word} \"$@\" >> {}", one.path("log").display()));
    let words = format!(
        "notify_master {}\n    notify_backup {}\n    notify_fault {}\n    notify_stop {}\n    notify {}",
        hook("master"),
        hook("backup"),
        hook("fault"),
        hook("stop"),
        hook("any")
    );
    let group = format!("vrrp_sync_group G {{\n  group {{\n    VI_1\n  }}\n  notify {}\n}}", hook("group"));
    // Slow enough for the scripts of one state to run before the next: those that wait give way to newer ones.
    one.start(Conf::new(100).interval("0.5").block(&group).words(&words));
    one.wait_for_lines("log", 6);
    one.host.set_down("eth0").expect("down");
    one.wait_for_lines("log", 9);
    one.stop();
    let lines = one.wait_for_lines("log", 12);
    let of =
        |first: &str| -> Vec<String> { lines.iter().filter(|l| l.starts_with(first)).cloned().collect() };
    assert_eq!(
        of("any"),
        [
            "any INSTANCE VI_1 BACKUP 100",
            "any INSTANCE VI_1 MASTER 100",
            "any INSTANCE VI_1 FAULT 100",
            "any INSTANCE VI_1 STOP 100"
        ]
    );
    assert_eq!(
        of("group"),
        ["group GROUP G BACKUP 0", "group GROUP G MASTER 0", "group GROUP G FAULT 0", "group GROUP G STOP 0"]
    );
    let own: Vec<&String> = lines.iter().filter(|line| !line.starts_with("group")).collect();
    let expected = ["backup", "any", "master", "any", "fault", "any", "stop", "any"];
    assert_eq!(
        own.iter().map(|line| line.split(' ').next().unwrap_or_default()).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(own[0], "backup", "the specific one has no arguments");
}

#[test]
fn a_fifo_gets_its_lines() {
    let mut one = alone();
    let fifo = one.path("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).expect("a FIFO");
    let reader = thread::spawn({
        let fifo = fifo.clone();
        move || {
            let mut text = String::new();
            File::open(fifo).expect("opens").read_to_string(&mut text).expect("text");
            text
        }
    });
    let conf = Conf::new(100).global(&format!("vrrp_notify_fifo {}", fifo.display()));
    one.start(conf.words("notify_priority_changes"));
    one.wait_for_vip();
    one.stop();
    assert_eq!(
        reader.join().expect("read"),
        "INSTANCE \"VI_1\" BACKUP 100\nINSTANCE \"VI_1\" MASTER 100\nINSTANCE \"VI_1\" STOP 100\n"
    );
}

/// A server on a host of the lab: every connection is handed to `serve`, whose results come out.
fn server<T: Send + 'static>(
    listener: TcpListener,
    serve: impl Fn(TcpStream) -> Option<T> + Send + 'static,
) -> Receiver<T> {
    let (sender, results) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_read_timeout(Some(SOON)).expect("a timeout");
            if serve(stream).is_some_and(|result| sender.send(result).is_err()) {
                return;
            }
        }
    });
    results
}

fn listen(host: &Host, address: &'static str) -> TcpListener {
    host.run(move || TcpListener::bind(address)).expect("listening")
}

/// Takes one mail; its text.
fn take_mail(stream: TcpStream) -> Option<String> {
    let mut replies = stream.try_clone().ok()?;
    let mut lines = BufReader::new(stream).lines();
    replies.write_all(b"220 mail.example ESMTP\r\n").ok()?;
    let mut mail = String::new();
    let mut in_data = false;
    while let Some(Ok(line)) = lines.next() {
        if in_data {
            if line == "." {
                in_data = false;
                replies.write_all(b"250 taken\r\n").ok()?;
            } else {
                mail.push_str(&line);
                mail.push('\n');
            }
            continue;
        }
        let word = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        let reply: &[u8] = match word.as_str() {
            "DATA" => {
                in_data = true;
                b"354 go on\r\n"
            }
            "QUIT" => {
                replies.write_all(b"221 bye\r\n").ok()?;
                break;
            }
            "EHLO" | "HELO" | "MAIL" | "RCPT" | "RSET" | "NOOP" => b"250 fine\r\n",
            _ => b"502 unknown\r\n",
        };
        mail.push_str(&line);
        mail.push('\n');
        replies.write_all(reply).ok()?;
    }
    Some(mail)
}

/// Takes one request; its body.
fn take_post(mut stream: TcpStream) -> Option<serde_json::Value> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").ok()?;
    serde_json::from_slice(&body).ok()
}

#[test]
fn mail_and_webhooks_arrive_also_after_the_webhook_was_down() {
    let mut one = alone();
    let hub = Host::new("hub").expect("a host");
    one.switch.connect(&hub, "eth0").expect("a cable");
    hub.add_address("eth0", "192.0.2.9/24".parse().expect("address")).expect("address");
    let mails = server(listen(&hub, "192.0.2.9:2525"), take_mail);
    one.start(
        Conf::owner()
            .global("smtp_server 192.0.2.9 2525\n    notification_email {\n        ops@example.net\n    }")
            .global("notification_email_from buoy@example.net\n    router_id one\n    smtp_alert on")
            .global("alert_webhook http://192.0.2.9:8080/hook 5"),
    );
    one.wait_for_vip();
    let mail = mails.recv_timeout(SOON).expect("a mail");
    for part in ["MAIL FROM:<buoy@example.net>", "RCPT TO:<ops@example.net>", "VI_1"] {
        assert!(mail.contains(part), "{part}: {mail}");
    }
    // So far nobody listens there.
    let documents = server(listen(&hub, "192.0.2.9:8080"), take_post);
    let first = documents.recv_timeout(SOON).expect("retried until somebody listens");
    assert_eq!((&first["router_id"], &first["to"]), (&"one".into(), &"BACKUP".into()));
    let second = documents.recv_timeout(SOON).expect("the next one");
    assert_eq!((&second["to"], &second["cause"]["kind"]), (&"MASTER".into(), &"owner".into()));
    one.stop();
    assert_eq!(documents.recv_timeout(SOON).expect("the last one")["to"], "STOP");
}

#[test]
fn no_alert_delays_an_advertisement_or_a_takeover() {
    let (mut one, mut two) = pair();
    let hub = Host::new("hub").expect("a host");
    one.switch.connect(&hub, "eth0").expect("a cable");
    hub.add_address("eth0", "192.0.2.9/24".parse().expect("address")).expect("address");
    // Connections are taken by the kernel, and nobody ever answers them.
    let _deaf = [listen(&hub, "192.0.2.9:2525"), listen(&hub, "192.0.2.9:8080")];
    let hindered = |director: &Director, priority| {
        let fifo = director.path("fifo");
        let hang = director.script("hang", "sleep 1000");
        Conf::new(priority)
            .timely()
            .global("smtp_server 192.0.2.9 2525\n    notification_email {\n        ops@example.net\n    }")
            .global(&format!("alert_webhook http://192.0.2.9:8080/ 60\n    notify_fifo {}", fifo.display()))
            .words(&format!("notify {hang}\n    notify_master {hang}\n    smtp_alert"))
    };
    one.start(hindered(&one, 200));
    one.wait_for_vip();
    two.start(hindered(&two, 100));
    wait_until(SOON, || two.first().master.is_some(), || "hears the master".to_owned());
    let (first, second) = (one.capture(), two.capture());
    wait_for_advertisements(&first, 3);
    let begun = SystemTime::now();
    for _ in 0..3 {
        one.cable.isolate().expect("isolating");
        two.wait_for_vip();
        wait_for_advertisements(&second, 5);
        one.cable.restore().expect("restoring");
        wait_until(SOON, || !two.holds(vip()), || "the backup lets go".to_owned());
        wait_for_advertisements(&first, 5);
    }
    let gap = longest_gap(&first, begun);
    println!("with every alert hanging: longest time between advertisements {gap:?}");
    // An alert that was waited for would hang for a minute; a busy machine is late by less.
    assert!(gap < Duration::from_secs(2), "{gap:?}");
    assert!(fs::metadata(one.path("fifo")).is_ok(), "the FIFO that nobody reads is there");
    one.stop();
    two.stop();
}

#[test]
fn a_script_ends_with_a_killed_daemon_and_one_that_cannot_be_run_says_why() {
    let mut one = alone();
    let pid = one.path("pid of the script");
    // It becomes another program, as a script that ends with one does.
    let hang = one.script("hang", &format!("echo $$ > '{}'; exec sleep 1000", pid.display()));
    let broken = one.path("broken");
    fs::write(&broken, "#!/no/such/interpreter\n").expect("written");
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).expect("permissions");
    let words = format!(
        "notify_master {hang}\n    notify_backup {}\n    notify \"/bin/sh -c 'exec sleep 1001'\" nobody",
        broken.display()
    );
    one.start(Conf::new(100).words(&words));
    one.wait_for_log("notify script failed of=VI_1");
    let reason = one.log().into_iter().find(|line| line.contains("notify script failed")).expect("a line");
    assert!(reason.contains("cannot start: No such file or directory"), "{reason}");
    // The general script of the first state, as another user.
    let daemon = one.daemon().id();
    let children =
        || fs::read_to_string(format!("/proc/{daemon}/task/{daemon}/children")).unwrap_or_default();
    let of_nobody = || children().split_whitespace().find(|id| sleeps(id)).map(str::to_owned);
    wait_until(SOON, || of_nobody().is_some(), || "the script of nobody runs".to_owned());
    let of_nobody = of_nobody().expect("it runs");
    let status = fs::read_to_string(format!("/proc/{of_nobody}/status")).expect("it runs");
    assert!(status.contains("Uid:\t65534"), "{status}{:#?}", one.log());
    // It holds up that of the next state until it ends.
    let id = of_nobody.parse().expect("a number");
    kill(Pid::from_raw(id), Signal::SIGKILL).expect("ended");
    let script = one.wait_for_lines("pid of the script", 1).pop().expect("a line");
    wait_until(SOON, || sleeps(&script), || "the script runs".to_owned());
    // Only the daemon: the lab's own way to kill takes the descendants along.
    one.signal(Signal::SIGKILL);
    wait_until(SOON, || !sleeps(&script), || format!("process {script} ends with its daemon"));
}

/// Whether this process has become `sleep`. The command line of a zombie reads as empty.
fn sleeps(id: &str) -> bool {
    let words = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    words.starts_with(b"sleep")
}
