//! Every address there is, for files that name servers nobody has made.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use buoy::lab::probe::Echo;
use buoy::lab::{Host, Switch};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::site::ip;

/// The body of every page; `printf 'in order' | md5sum` makes the digest.
pub(crate) const BODY: &str = "in order";
pub(crate) const DIGEST: &str = "c65530c55229fab2e3af0bc9fb1ed124";

/// Ports of the files that are tried, by what speaks there. HTTP and TLS are told apart by the first byte.
const WEB: [u16; 6] = [80, 81, 443, 444, 1358, 8080];
const MAIL: [u16; 2] = [25, 587];
const DATAGRAMS: [u16; 2] = [53, 1358];

/// A client that says nothing for so long is left.
const SILENCE: Duration = Duration::from_secs(30);

/// A host that has every address and answers on many ports, or is unreachable as a whole.
pub(crate) struct World {
    host: Host,
    switch: Switch,
    directors: u8,
    /// Answer datagrams.
    _echoes: [Echo; 2],
}

impl World {
    /// A world that cannot be reached yet.
    pub(crate) fn new() -> Self {
        let switch = Switch::new("world").expect("a switch");
        let host = Host::new("servers").expect("a host");
        switch.connect(&host, "eth0").expect("a cable");
        for address in ["10.255.0.1/16", "fd00::1/64"] {
            host.add_address("eth0", address.parse().expect("an address")).expect("an address");
        }
        ip(&host, "route add unreachable 0.0.0.0/0 metric 1\nroute add unreachable ::/0 metric 1\n");
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            host.sysctl(key, "1").expect("a setting");
        }
        // Every failure is told at once, however many there are.
        host.sysctl("net/ipv4/icmp_ratemask", "0").expect("a setting");
        host.sysctl("net/ipv6/icmp/ratelimit", "0").expect("a setting");
        host.run(listen);
        let echoes = DATAGRAMS.map(|port| Echo::start(&host, port).expect("a free port"));
        Self { host, switch, directors: 0, _echoes: echoes }
    }

    /// Whether all servers are there.
    pub(crate) fn answer(&self, answers: bool) {
        // In the main table the networks of the cables go before them.
        let (present, absent) = ("local {} dev lo table main", "unreachable {} table main metric 1");
        let (gone, new) = if answers { (absent, present) } else { (present, absent) };
        let lines = ["0.0.0.0/0", "::/0"].map(|all| {
            format!("route del {}\nroute add {}\n", gone.replace("{}", all), new.replace("{}", all))
        });
        ip(&self.host, &lines.concat());
    }

    /// A director to which every address is reachable, but for `eth0` and `eth1`, where nobody else is.
    pub(crate) fn director(&mut self, name: &str) -> Host {
        self.directors += 1;
        let number = self.directors;
        let host = Host::new(name).expect("a host");
        self.switch.connect(&host, "up0").expect("a cable");
        ip(
            &host,
            &format!(
                "address add 10.255.1.{number}/16 dev up0\naddress add fd00::1:{number}/64 dev up0 nodad\n\
                 route add default via 10.255.0.1\nroute add default via fd00::1\n\
                 link add eth0 type veth peer name end0\nlink add eth1 type veth peer name end1\n\
                 link set end0 up\nlink set end1 up\nlink set eth0 up\nlink set eth1 up\n\
                 address add 10.254.0.1/24 dev eth0\naddress add 10.254.1.1/24 dev eth1\n"
            ),
        );
        host
    }
}

/// Starts what answers; it ends with the test program.
fn listen() {
    let certificate = rcgen::generate_simple_self_signed(["servers".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions that the provider has")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .expect("a certificate with its key");
    let config = Arc::new(config);
    for port in WEB {
        let config = Arc::clone(&config);
        accept(port, move |stream| web(stream, &config));
    }
    for port in MAIL {
        accept(port, mail);
    }
}

/// Every client has a thread: nobody waits for a slow one.
fn accept(port: u16, talk: impl Fn(TcpStream) -> std::io::Result<()> + Clone + Send + 'static) {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).expect("a free port");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_read_timeout(Some(SILENCE)).expect("a limit");
            let talk = talk.clone();
            // A client that only connects is gone by now.
            thread::spawn(move || talk(stream).unwrap_or_default());
        }
    });
}

fn web(stream: TcpStream, config: &Arc<ServerConfig>) -> std::io::Result<()> {
    const HANDSHAKE: u8 = 22;
    let mut first = [0];
    if stream.peek(&mut first)? == 0 {
        return Ok(());
    }
    if first == [HANDSHAKE] {
        let connection = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        page(&mut stream)?;
        stream.conn.send_close_notify();
        stream.flush()
    } else {
        page(stream)
    }
}

fn page(stream: impl Read + Write) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    // A request ends with an empty line.
    while stream.read_line(&mut line)? > 2 {
        line.clear();
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", BODY.len());
    stream.get_mut().write_all((head + BODY).as_bytes())?;
    stream.get_mut().flush()
}

/// Greets checks, and takes what is mailed to it.
fn mail(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(b"220 here\r\n")?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut in_text = false;
    while let Some(line) = lines.next().transpose()? {
        in_text &= line != ".";
        if in_text {
            continue;
        }
        in_text = line == "DATA";
        let answer = match line.as_str() {
            "DATA" => "354 go on\r\n",
            "QUIT" => "221 bye\r\n",
            _ => "250 yes\r\n",
        };
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}
