//! Tables as the commands that make them.

use crate::server::{PORT, Server};
use crate::site::Way;

pub(super) const SIP_PORT: u16 = 5060;

/// Services of every kind that no traffic goes to, with servers that nobody has.
pub(super) fn everything() -> Vec<String> {
    let schedulers = ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"];
    let flags = ["", " -b flag-1", " -b flag-2", " -b flag-1,flag-2"];
    let mut lines = Vec::new();
    for (port, (scheduler, flags)) in
        (1..).zip(schedulers.iter().flat_map(|scheduler| flags.map(|flags| (scheduler, flags))))
    {
        lines.push(format!("-A -t 10.9.0.1:{port} -s {scheduler}{flags}"));
    }
    let more = [
        "-A -t 10.9.0.1:100 -s rr -b flag-3",
        "-A -t 10.9.0.1:101 -s none",
        "-A -t 10.9.0.1:102 -s mh -p 360 -M 255.255.255.0 -b mh-port,mh-fallback",
        "-A -t 10.9.0.1:103 -s sh -p 1 -M 0.0.0.0 -b sh-port",
        "-A -t 10.9.0.1 -p",
        "-A -u 10.9.0.1:53 -o -s rr",
        "-A -u 10.9.0.1:5061 -s rr -p 60 --pe sip -o -b flag-1",
        "-A --sctp-service 10.9.0.1:36412 -s lblc",
        "-A -t [2001:db8:9::1]:80 -p 2678400 -M 64",
        "-A -t [2001:db8:9::1]:81 -p 50 -M 128",
        "-A -u [2001:db8:9::1:2:3]:53 -o",
        "-A -f 1",
        "-A -f 4294967295 -s wrr -p 77 -M 255.0.0.0",
        "-A -f 1 -6 -s wrr -p 77 -M 1",
        "-a -f 1 -r 10.8.0.1 -m",
        "-a -f 1 -r 10.8.0.2:80 -g",
        "-a -f 1 -6 -r [2001:db8:8::1]:0 -m",
        "-a -f 1 -6 -r 10.8.0.1:80 -i",
        "-a -t 10.9.0.1:1 -r 10.8.0.1:8080 -m -w 7 -x 100 -y 50",
        "-a -t 10.9.0.1:1 -r 10.8.0.2 -i --tun-type gue --tun-port 6080 --tun-remcsum -x 2147483647",
        "-a -t 10.9.0.1:1 -r 10.8.0.3 -i --tun-type gue --tun-port 6080 --tun-csum",
        "-a -t 10.9.0.1:1 -r 10.8.0.4 -i --tun-type gue --tun-port 65535",
        "-a -t 10.9.0.1:1 -r 10.8.0.5 -i -w 2147483647 --tun-type gre --tun-csum",
        "-a -t 10.9.0.1:1 -r 10.8.0.6 -i -w 0 --tun-type gre",
        "-a -t 10.9.0.1:1 -r 10.8.0.7 -i",
        "-a -t 10.9.0.1:1 -r 10.8.0.8",
        "-a -t 10.9.0.1:1 -r 127.0.0.1",
        "-a -t 10.9.0.1:1 -r 2001:db8:8::8 -i",
        "-a -t [2001:db8:9::1]:80 -r [2001:db8:8:0:aaaa:bbbb:cccc:dddd]:65535 -m",
        "-a -t [2001:db8:9::1]:80 -r 10.8.0.9 -i --tun-type gue --tun-port 1",
    ];
    lines.extend(more.map(str::to_owned));
    lines
}

/// Services that a table of Buoy's has no words for.
pub(super) fn foreign() -> Vec<String> {
    [
        "-A -t 10.9.0.2:80 -p 9 -M 255.0.255.0",
        "-A -u 10.9.0.2:5060 --pe sip",
        "-a -t 10.9.0.2:80 -r 10.8.0.1 -m",
    ]
    .map(str::to_owned)
    .into()
}

/// Services whose addresses and ports have names.
pub(super) fn with_names() -> Vec<String> {
    [
        "-A -t 192.0.2.100:80",
        "-a -t 192.0.2.100:80 -r 10.1.0.12:8080 -m",
        "-A -t 192.0.2.101:443",
        "-A -u 192.0.2.101:514",
        "-A -t 192.0.2.101:514",
        "-A --sctp-service 192.0.2.101:5672",
        "-A --sctp-service 192.0.2.101:80",
        "-A -f 9",
        "-a -f 9 -r 10.1.0.12:80 -m",
    ]
    .map(str::to_owned)
    .into()
}

/// Services that the client of the site can use.
pub(super) fn with_servers(servers: &[Server]) -> Vec<String> {
    let vip = |way: Way| format!("{}:{PORT}", way.vip());
    let vip6 = |way: Way| format!("[{}]:{PORT}", way.vip6());
    let services = [
        (format!("-t {}", vip(Way::Masquerade)), "-s rr", "-m"),
        (format!("-u {}", vip(Way::Masquerade)), "-s wlc", "-m"),
        (format!("-u {}:{SIP_PORT}", Way::Masquerade.vip()), "-p 60 --pe sip", "-m"),
        (format!("-t {}", vip(Way::Direct)), "-s sh -p 300 -M 255.255.255.0", "-g"),
        ("-f 7".to_owned(), "-p 300", "-i"),
        (format!("-t {}", vip6(Way::Masquerade)), "-s lc", "-m"),
        (format!("-u {}", vip6(Way::Masquerade)), "-s rr -p 3600 -M 64", "-m"),
        (format!("-t {}", vip6(Way::Direct)), "-s wrr -p 100", "-g"),
        ("-f 7 -6".to_owned(), "-p 300", "-i"),
    ];
    let mut lines = Vec::new();
    for (service, words, method) in services {
        lines.push(format!("-A {service} {words}"));
        let v6 = service.contains('[') || service.contains("-6");
        for (weight, server) in (1..).zip(servers) {
            let address = if v6 { format!("[{}]", server.address6) } else { server.address.to_string() };
            lines.push(format!("-a {service} -r {address}:{PORT} {method} -w {weight}"));
        }
    }
    lines
}

/// Addresses whose differences wrap, in many services.
pub(super) fn addresses_in_circles() -> Vec<String> {
    let mut lines = Vec::new();
    for address in [
        "1.0.0.0",
        "127.0.0.1",
        "128.0.0.1",
        "192.168.0.1",
        "10.0.0.255",
        "10.0.1.0",
        "10.255.0.1",
        "[1::1]",
        "[2001:db8:1::7f00:0]",
        "[2001:db8:1::ff00:0]",
        "[8000::1]",
        "[ff05::1]",
    ] {
        lines.extend(["-t", "-u"].map(|protocol| format!("-A {protocol} {address}:80")));
        lines.push(format!("-A -t {address}:65535"));
    }
    for mark in ["1", "256", "4294967295", "2147483648"] {
        lines.extend([format!("-A -f {mark}"), format!("-A -f {mark} -6")]);
    }
    lines
}

/// The same in the servers of two services.
pub(super) fn servers_in_circles() -> Vec<String> {
    let mut lines = vec!["-A -t 10.0.0.1:80".to_owned(), "-A -t [2001:db8::1]:80".to_owned()];
    for address in
        ["1.0.0.0", "127.0.0.1", "128.0.0.1", "192.168.0.1", "10.0.0.255", "10.255.0.1", "32.1.13.184"]
    {
        lines.extend([80, 256, 255].map(|port| format!("-a -t 10.0.0.1:80 -r {address}:{port} -m")));
    }
    lines.extend(
        ["2001:db8::", "2001:db8::1", "8000::1"].map(|address| format!("-a -t 10.0.0.1:80 -r {address} -i")),
    );
    for address in
        ["::2", "1::1", "1:0:0:1::", "8000::1", "2001:db8:1::ff00:0", "2001:db8:1:8000::", "2001:db8:1::1"]
    {
        lines.push(format!("-a -t [2001:db8::1]:80 -r [{address}]:80 -m"));
    }
    lines
}

/// Commands, and parts of what is seen after them.
pub(super) fn steps() -> Vec<(Vec<&'static str>, Vec<&'static str>)> {
    vec![
        (vec!["-A -t 10.0.0.1:80 -s rr"], vec!["TCP  10.0.0.1:80 rr\n"]),
        (
            vec!["-A -t 10.0.0.1:80 -s sh -b sh-port -p 9 -M 255.255.0.0", "-E -t 10.0.0.1:80 -s lc"],
            vec!["TCP  10.0.0.1:80 lc\n"],
        ),
        (
            vec!["-A -u 10.0.0.1:80", "-E -u 10.0.0.1:80 -s mh -b mh-port -p -o"],
            vec!["UDP  10.0.0.1:80 mh (mh-port) persistent 360 ops\n"],
        ),
        (vec!["-A -t 10.0.0.1:80", "-A -t 10.0.0.2:80", "-D -t 10.0.0.1:80"], vec!["TCP  10.0.0.2:80 wlc\n"]),
        (vec!["-At10.0.0.1:80 -srr", "-a -mt 10.0.0.1:80 -r10.1.0.1:81 -w6"], vec!["  -> 10.1.0.1:81"]),
        (
            vec!["-A -t 10.0.0.1:80", "-a -t 10.0.0.1:80 -r 10.1.0.1:99 -g"],
            vec!["  -> 10.1.0.1:80                  Route"],
        ),
        (
            vec![
                "-A -t 10.0.0.1:80",
                "-a -t 10.0.0.1:80 -r 10.1.0.1 -m -w 9 -x 20 -y 10",
                "-e -t 10.0.0.1:80 -r 10.1.0.1 -i",
            ],
            vec!["  -> 10.1.0.1:80                  0          0 ", "Tunnel  ipip          1 "],
        ),
        (
            vec![
                "-A -f 5 -6",
                "-a -f 5 -6 -r 2001:db8::9 -g -w 0",
                "-a -f 5 -6 -r [2001:db8::8]:80 -g",
                "-d -f 5 -6 -r 2001:db8::9",
            ],
            vec!["FWM  5 IPv6 wlc\n  -> [2001:db8::8]:80"],
        ),
        (
            vec!["-A -t 10.0.0.1:80", "-a -t 10.0.0.1:80 -r 10.1.0.1 -m", "-d -t 10.0.0.1:80 -r 10.1.0.1"],
            vec!["TCP  10.0.0.1:80 wlc\n"],
        ),
        (
            vec!["-A -t 10.0.0.1:80", "-C", "-A -t ::1 -p 5 -M 64"],
            vec!["TCP  [::1]:0 wlc persistent 5 mask 64\n"],
        ),
    ]
}
