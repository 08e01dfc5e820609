//! The laboratory: a client, a director (or two), and servers.
//!
//! ```text
//!                192.0.2.0/24, 2001:db8::/64
//!   client .10-.19 ------- front ------- .1 director
//!          .250    ------- back  ------- .1
//!                            |
//!                10.1.0.0/24, 2001:db8:1::/64
//!                      servers .11 .12 .13
//! ```
//!
//! What servers send from their own addresses goes to the director, which translates it; what they send from an address
//! of the director goes to the client by a way of its own, and to neighbours directly.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use buoy::lab::{Host, Switch};

use crate::client::Client;
use crate::server::Server;

/// Ample time for anything that is to happen at once, in a slow kernel on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// How packets get to servers; each way has a virtual address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Masquerade,
    Direct,
    Ipip,
    Gre,
    Gue,
}

impl Way {
    pub(crate) const ALL: [Self; 5] = [Self::Masquerade, Self::Direct, Self::Ipip, Self::Gre, Self::Gue];
    /// The ways that a server can be reached by over IPv6.
    pub(crate) const ALL6: [Self; 3] = [Self::Masquerade, Self::Direct, Self::Ipip];

    pub(crate) fn vip(self) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, 100 + self.number()).into()
    }

    pub(crate) fn vip6(self) -> IpAddr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100 + u16::from(self.number())).into()
    }

    /// Where a server has the virtual address; `None` where it needs none.
    pub(crate) fn device(self) -> Option<&'static str> {
        match self {
            Self::Masquerade => None,
            Self::Direct => Some("lo"),
            Self::Ipip | Self::Gue => Some("ipip0"),
            Self::Gre => Some("gre1"),
        }
    }

    /// The same for IPv6.
    pub(crate) fn device6(self) -> Option<&'static str> {
        match self {
            Self::Direct => Some("lo"),
            Self::Ipip => Some("ip6tun0"),
            Self::Masquerade | Self::Gre | Self::Gue => None,
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Masquerade => 0,
            Self::Direct => 1,
            Self::Ipip => 2,
            Self::Gre => 3,
            Self::Gue => 4,
        }
    }

    /// The line of a configuration.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Masquerade => "lvs_method NAT",
            Self::Direct => "lvs_method DR",
            Self::Ipip => "lvs_method TUN",
            Self::Gre => "lvs_method TUN type gre nocsum",
            Self::Gue => "lvs_method TUN type gue port 6080 nocsum",
        }
    }
}

pub(crate) struct Site {
    pub(crate) client: Client,
    pub(crate) front: Switch,
    pub(crate) back: Switch,
    pub(crate) servers: Vec<Server>,
}

impl Site {
    /// A client and three servers that answer, reachable every way; no director yet.
    pub(crate) fn new() -> Self {
        load_module("fou");
        let [front, back] = ["front", "back"].map(|name| Switch::new(name).expect("a switch"));
        let client = Client::new(&front, &back);
        let mut site = Self { client, front, back, servers: Vec::new() };
        for name in ["a", "b", "c"] {
            site.add_server(name);
        }
        site
    }

    /// Another server, which answers when this returns.
    pub(crate) fn add_server(&mut self, name: &str) {
        let number = 11 + u8::try_from(self.servers.len()).expect("a few servers");
        let host = Host::new(name).expect("a host");
        self.back.connect(&host, "eth0").expect("a cable");
        let (address, address6) = (back_address(number), back_address6(number));
        let mut script = format!(
            "address add {address}/24 dev eth0\naddress add {address6}/64 dev eth0 nodad\n\
             route add default via {}\nroute add default via {}\n\
             link add ipip0 type ipip local {address}\nlink add gre1 type gre local {address}\n\
             link add ip6tun0 type ip6tnl mode any local {address6}\n\
             link add sit1 type sit local {address}\nfou add port 6080 gue\n\
             link set ipip0 up\nlink set gre1 up\nlink set ip6tun0 up\nlink set sit1 up\n\
             route add {}/24 dev eth0 table 100\nroute add default via {} table 100\n",
            back_address(1),
            back_address6(1),
            back_address(0),
            back_address(250),
        );
        let mut addresses = vec![address, address6];
        for way in Way::ALL {
            let Some(device) = way.device() else { continue };
            let vip = way.vip();
            script += &format!("address add {vip}/32 dev {device}\nrule add from {vip} table 100\n");
            addresses.push(vip);
        }
        ip(&host, &script);
        let mut script = format!(
            "route add {}/64 dev eth0 table 100\nroute add default via {} table 100\n",
            back_address6(0),
            back_address6(250)
        );
        for way in Way::ALL {
            let Some(device) = way.device6() else { continue };
            let vip = way.vip6();
            script += &format!("address add {vip}/128 dev {device} nodad\nrule add from {vip} table 100\n");
            addresses.push(vip);
        }
        feed(&host, "ip", &["-6", "-batch", "-"], &script);
        for (key, value) in [
            // The director alone answers for its addresses.
            ("net/ipv4/conf/all/arp_ignore", "1"),
            ("net/ipv4/conf/all/arp_announce", "2"),
            // What comes out of a tunnel came in by another interface.
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/ipip0/rp_filter", "0"),
            ("net/ipv4/conf/gre1/rp_filter", "0"),
            ("net/ipv4/conf/ip6tun0/rp_filter", "0"),
        ] {
            host.sysctl(key, value).expect("a setting");
        }
        let mut server = Server::new(name, host, address, address6);
        server.addresses = addresses;
        server.start();
        self.servers.push(server);
    }

    pub(crate) fn server(&mut self, name: &str) -> &mut Server {
        self.servers.iter_mut().find(|server| server.name == name).expect("a server of this name")
    }

    /// A host between the switches that forwards; `number` is the last part of its addresses.
    pub(crate) fn router(&self, name: &str, number: u8) -> Host {
        let host = Host::new(name).expect("a host");
        self.front.connect(&host, "eth0").expect("a cable");
        self.back.connect(&host, "eth1").expect("a cable");
        for (interface, address) in [
            ("eth0", format!("192.0.2.{number}/24")),
            ("eth0", format!("2001:db8::{number}/64")),
            ("eth1", format!("{}/24", back_address(number))),
            ("eth1", format!("{}/64", back_address6(number))),
        ] {
            host.add_address(interface, address.parse().expect("an address")).expect("an address");
        }
        for (key, value) in [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv4/conf/all/send_redirects", "0"),
            ("net/ipv4/conf/all/rp_filter", "0"),
        ] {
            host.sysctl(key, value).expect("a setting");
        }
        host
    }
}

/// Nothing makes the kernel load this by itself, as it does others.
fn load_module(name: &str) {
    let modprobe =
        std::fs::read_to_string("/proc/sys/kernel/modprobe").expect("the program that loads modules");
    let status = Command::new(modprobe.trim()).arg(name).status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "the module {name}: {status:?}");
}

pub(crate) fn back_address(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 1, 0, number).into()
}

pub(crate) fn back_address6(number: u8) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, number.into()).into()
}

/// Runs the lines by `ip -batch`.
#[track_caller]
pub(crate) fn ip(host: &Host, lines: &str) {
    feed(host, "ip", &["-batch", "-"], lines);
}

/// Runs the lines by `tc -batch`. What nftables is for elsewhere: the kernel of Debian's user-mode Linux has only its
/// bridge family.
#[track_caller]
pub(crate) fn tc(host: &Host, lines: &str) {
    feed(host, "tc", &["-batch", "-"], lines);
}

/// Runs a program on a host with this input; its output.
#[track_caller]
pub(crate) fn feed(host: &Host, program: &str, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let text = input.to_owned();
    let output = host.run(move || -> std::io::Result<Output> {
        let mut child = command.spawn()?;
        child.stdin.take().expect("a pipe").write_all(text.as_bytes())?;
        child.wait_with_output()
    });
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?} on {}: {complaints}\n{input}", host.name());
    String::from_utf8(output.stdout).expect("text")
}

/// Polls until `condition` holds.
#[track_caller]
pub(crate) fn wait_until(
    limit: Duration,
    mut condition: impl FnMut() -> bool,
    explain: impl FnOnce() -> String,
) -> Duration {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {}", explain());
        std::thread::sleep(Duration::from_millis(5));
    }
    begun.elapsed()
}
