//! Programs of the packet I/O, where the kernel has no tcx.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use buoy_ipvs::io::bpf::{Assembler, Attachment, Hook, Program, Register};
use buoy_ipvs::io::tc::{Capacities, Maps, Programs};

use crate::machine::inside;

/// `TC_ACT_SHOT`
const DROP: i32 = 2;

/// Linux 6.6 and later have tcx.
fn kernel_has_tcx() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(6))
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn a_program_is_attached_by_what_the_kernel_has() {
    if !inside() {
        return;
    }
    let mut program = Assembler::default();
    program.set(Register::R0, DROP).exit();
    let program = Program::load("drop", &program.assemble(&[]).unwrap()).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let arrives = || {
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        match socket.recv(&mut [0; 8]) {
            Ok(_) => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
            Err(error) => panic!("{error}"),
        }
    };
    let loopback = nix::net::if_::if_nametoindex("lo").unwrap();
    assert!(arrives());
    let attachment = Attachment::new(&program, loopback).unwrap();
    assert_eq!(attachment.hook(), if kernel_has_tcx() { Hook::Tcx } else { Hook::Clsact });
    assert!(!arrives());
    drop(attachment);
    assert!(arrives());
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn its_verifier_accepts_the_programs() {
    if !inside() {
        return;
    }
    let maps = Maps::create(Capacities { flows: 64, next_hops: 4, selectors: 4 }).unwrap();
    Programs::load(&maps, 1).unwrap_or_else(|error| panic!("{error}"));
}
