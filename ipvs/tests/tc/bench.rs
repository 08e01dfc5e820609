//! A director: maps, a TAP for the engine, programs.

use buoy_ipvs::io::bpf::{Assembler, Attachment, Helper, Program, Register};
use buoy_ipvs::io::flow::{Flow, FlowKey, Mode};
use buoy_ipvs::io::next_hop::{NextHop, NextHopIndex};
use buoy_ipvs::io::tap::Tap;
use buoy_ipvs::io::tc::{Capacities, Maps, Programs};

use crate::host::Host;

pub(crate) const TO_CLIENT: NextHopIndex = NextHopIndex(0);
pub(crate) const TO_SERVER: NextHopIndex = NextHopIndex(1);
pub(crate) const TO_NOBODY: NextHopIndex = NextHopIndex(2);

pub(crate) const CAPACITIES: Capacities = Capacities { flows: 1024, next_hops: 16, selectors: 64 };

pub(crate) struct Director {
    pub(crate) host: Host,
    pub(crate) maps: Maps,
    pub(crate) engine: Tap,
    pub(crate) programs: Programs,
    pub(crate) attachments: Vec<Attachment>,
}

impl Director {
    pub(crate) fn new() -> Self {
        let host = Host::new();
        let maps = Maps::create(CAPACITIES).unwrap();
        let engine = host.run(|| Tap::create("engine%d")).unwrap();
        assert_eq!(engine.name(), "engine0");
        let programs = Programs::load(&maps, engine.index()).unwrap_or_else(|error| panic!("{error}"));
        let attachment = host.run(|| programs.attach_tap(engine.index())).unwrap();
        Self { host, maps, engine, programs, attachments: vec![attachment] }
    }

    pub(crate) fn forward_from(&mut self, interface: u32) {
        self.attachments.push(self.host.run(|| self.programs.attach(interface)).unwrap());
    }

    pub(crate) fn next_hop(&self, index: NextHopIndex, interface: u32, mac: [u8; 6]) -> NextHop {
        let next_hop = NextHop { interface, destination: mac, source: [2, 8, 0, 0, 0, 1], mtu: 1500 };
        self.maps.next_hops.set(index, Some(&next_hop)).unwrap();
        next_hop
    }

    /// Masquerades a connection: packets of `request` become packets of `forwarded`, and those of its answers the
    /// answers of `request`.
    pub(crate) fn masquerade(&self, request: &FlowKey, forwarded: &FlowKey) {
        let (answer, answered) = (forwarded.reversed(), request.reversed());
        let there = Flow::new(Mode::MasqueradeRequest, request, forwarded, TO_SERVER);
        let back = Flow::new(Mode::MasqueradeReply, &answer, &answered, TO_CLIENT);
        self.maps.flows.set_all([(request, &there), (&answer, &back)]).unwrap();
    }
}

/// Redirects every packet to that interface.
pub(crate) fn catcher(interface: u32) -> Program {
    let mut program = Assembler::default();
    program.set(Register::R1, interface.cast_signed()).set(Register::R2, 0).call(Helper::Redirect).exit();
    Program::load("catcher", &program.assemble(&[]).unwrap()).unwrap()
}
