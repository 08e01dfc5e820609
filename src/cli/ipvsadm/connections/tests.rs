use proptest::prelude::*;

use super::super::names::Names;
use super::*;

// Lines of /proc/net/ip_vs_conn of Linux 6.1, and what `ipvsadm -Lnc` 1.31 printed of each at that moment.
const LINES: [(&str, &str); 6] = [
    (
        "TCP 0A00004D DB7C 0A00004D 0050 0A000001 0050 ESTABLISHED      27",
        "TCP 00:27  ESTABLISHED 10.0.0.77:56188    10.0.0.77:80       10.0.0.1:80",
    ),
    (
        "TCP 2001:0db8:aaaa:bbbb:cccc:dddd:eeee:ffff A79D 2001:0db8:0000:0000:0000:0000:0000:0002 0050 \
         2001:0db8:1111:2222:3333:4444:5555:6666 1F90 ESTABLISHED      27",
        "TCP 00:27  ESTABLISHED [2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:42909 [2001:db8::2]:80   \
         [2001:db8:1111:2222:3333:4444:5555:6666]:8080",
    ),
    (
        "IP  0A00004D 0000 00000009 0000 0A000001 0000 ASSURED          64",
        "IP  01:04  ASSURED     10.0.0.77:0        0.0.0.9:0          10.0.0.1:0",
    ),
    (
        "IP  2001:0db8:0000:0000:0000:0000:0000:0077 0000 0000:0009:0000:0000:0000:0000:0000:0000 0000 \
         2001:0db8:0000:0000:0000:0000:0000:0002 0000 NONE             64",
        "IP  01:04  NONE        [2001:db8::77]:0   [0:9::]:0          [2001:db8::2]:0",
    ),
    (
        "UDP 0A000003 0000 0A000002 0035 0A000003 0035 NONE          99994",
        "UDP 1666:34 NONE        10.0.0.3:0         10.0.0.2:53        10.0.0.3:53",
    ),
    (
        "TCP 0A000001 9E02 0A000001 0050 7F000001 1F90 CLOSE_WAIT       54",
        "TCP 00:54  CLOSE_WAIT  10.0.0.1:40450     10.0.0.1:80        127.0.0.1:8080",
    ),
];

fn written(line: &str, engines: bool) -> String {
    let connection = Connection::parse(line).expect("a connection");
    let mut out = Vec::new();
    let mut names = Names::with_services("");
    let mut labels = Labels::new(&mut names, true);
    write_connection(&mut out, &connection, engines, &mut labels).expect("memory takes everything");
    String::from_utf8(out).expect("text")
}

#[test]
fn connections_are_written_as_by_ipvsadm() {
    for (line, expected) in LINES {
        assert_eq!(written(line, false), format!("{expected}\n"));
        assert_eq!(written(line, true), format!("{expected}\n"), "without an engine");
    }
}

#[test]
fn what_an_engine_knows_is_written_where_it_is_asked_for() {
    let line =
        "UDP C000020A 0000 C0000264 13C4 0A01000D 1B58 ASSURED          56 sip a-call-0123456789@192.0.2.10";
    let usual = "UDP 00:56  ASSURED     192.0.2.10:0       192.0.2.100:5060   10.1.0.13:7000";
    assert_eq!(written(line, false), format!("{usual}\n"));
    assert_eq!(written(line, true), format!("{usual}   sip                a-call-0123456789@192.0.2.10\n"));
}

#[test]
fn lines_that_make_no_sense_are_no_connections() {
    for line in [
        "",
        "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData",
        "TCP 0A00004D DB7C 0A00004D 0050 0A000001 0050 ESTABLISHED",
        "TCP 0A00004D DB7C 0A00004D 10050 0A000001 0050 ESTABLISHED 1",
        "TCP 10A00004D DB7C 0A00004D 0050 0A000001 0050 ESTABLISHED 1",
        "TCP 2001:zz:1 DB7C 0A00004D 0050 0A000001 0050 ESTABLISHED 1",
    ] {
        assert_eq!(Connection::parse(line), None, "{line}");
    }
}

proptest! {
    #[test]
    fn nothing_in_a_line_panics(line in "\\PC{0,120}") {
        drop(Connection::parse(&line));
    }
}
