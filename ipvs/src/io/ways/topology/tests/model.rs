//! A kernel with two tables and a rule by mark, that is looked through from end to end at every lookup.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::*;
use crate::io::ways::Kind;
use crate::io::ways::answers::Route;
use crate::io::ways::links::Link;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// In the main table, or the one for marks with the last bit.
    Add {
        marked: bool,
        address: Address,
        len: u8,
        gateway: u8,
    },
    Remove {
        marked: bool,
        address: Address,
        len: u8,
    },
    LookUp {
        destination: Address,
        mark: u32,
    },
}

#[derive(Default)]
struct Kernel {
    /// By table and prefix, in which order longer ones come later.
    routes: BTreeMap<(bool, u8, Address), u8>,
}

fn masked(address: Address, len: u8) -> Address {
    Address::v4(address.folded() & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0))
}

impl Kernel {
    fn answer(&self, destination: Address, mark: u32) -> Route {
        let in_table = |table: bool| {
            let of_table = self.routes.iter().rev().filter(move |((of, ..), _)| *of == table);
            of_table.clone().find(|((_, len, address), _)| masked(destination, *len) == *address)
        };
        let marked = if mark & 1 == 1 { in_table(true) } else { None };
        match marked.or_else(|| in_table(false)) {
            Some((_, gateway)) => Route {
                interface: 2,
                gateway: Some(Address::v4(u32::from(*gateway))),
                ..Route::none(Kind::Unicast)
            },
            None => Route::none(Kind::Unreachable),
        }
    }
}

fn address() -> impl Strategy<Value = Address> {
    (0u32..4, 0u32..4, 0u32..4).prop_map(|(a, b, c)| Address::v4(a << 30 | b << 20 | c))
}

fn len() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0u8), Just(2), Just(12), Just(31), Just(32)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any::<bool>(), address(), len(), any::<u8>())
            .prop_map(|(marked, address, len, gateway)| Step::Add { marked, address, len, gateway }),
        (any::<bool>(), address(), len()).prop_map(|(marked, address, len)| Step::Remove {
            marked,
            address,
            len
        }),
        (address(), 0u32..4).prop_map(|(destination, mark)| Step::LookUp { destination, mark }),
        (address(), 0u32..4).prop_map(|(destination, mark)| Step::LookUp { destination, mark }),
    ]
}

proptest! {
    #[test]
    fn ways_are_what_the_kernel_would_answer_now(steps in prop::collection::vec(step(), 1..80)) {
        let mut kernel = Kernel::default();
        let mut topology = Topology::new(16, Instant::now());
        let link = Link { running: true, mtu: 1500, kind: LinkKind::Bare };
        topology.handle(Event::Link { interface: 2, link });
        topology.handle(Event::Rule { prefix: None, mark_mask: 1, by_source: false });
        // Events wait in a queue while the kernel has gone on.
        let mut late = Vec::new();
        for step in steps {
            match step {
                Step::Add { marked, address, len, gateway } => {
                    kernel.routes.insert((marked, len, masked(address, len)), gateway);
                    let prefix = Prefix::new(address, len);
                    late.push(Event::Route { prefix, answer: Answer::Shared, by_source: false });
                }
                Step::Remove { marked, address, len } => {
                    if kernel.routes.remove(&(marked, len, masked(address, len))).is_some() {
                        late.push(Event::RouteGone { prefix: Prefix::new(address, len) });
                    }
                }
                Step::LookUp { destination, mark } => {
                    let look_up = |topology: &mut Topology, kernel: &Kernel| {
                        match topology.look_up(destination, mark, None) {
                            Lookup::Known(way) => way,
                            Lookup::Ask(question) => {
                                topology.answer(&question, kernel.answer(question.destination, question.mark))
                            }
                        }
                    };
                    // Before the events are handled anything between before and now is right; afterwards, only now is.
                    look_up(&mut topology, &kernel);
                    for event in late.drain(..) {
                        topology.handle(event);
                    }
                    let way = look_up(&mut topology, &kernel);
                    let expected = kernel.answer(destination, mark);
                    prop_assert_eq!(way.kind, expected.kind);
                    prop_assert_eq!(way.neighbour, expected.gateway.unwrap_or(destination));
                }
            }
        }
    }
}
