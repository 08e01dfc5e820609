//! Makes a script shorter and simpler for as long as the two still disagree on it.

use crate::house::House;
use crate::packet::{Packet, Shape, Sum};
use crate::play::{Disagreement, play};
use crate::script::{Script, Step};

/// Plays that are spent on one script.
const PLAYS: usize = 400;

/// A script, and where they disagree on it. `House`s are made as needed; the namespace of this thread changes.
pub(crate) fn shrink(script: &Script, found: Disagreement) -> (Script, Disagreement) {
    let mut stage = Stage { house: House::new(script.secure), plays: 0 };
    let mut best = (script.clone(), found);
    // What comes after it cannot matter.
    best.0.steps.truncate(best.1.step + 1);
    loop {
        let before = best.0.clone();
        for place in (0..best.0.steps.len()).rev() {
            let mut shorter = best.0.clone();
            if place < shorter.steps.len() {
                shorter.steps.remove(place);
                stage.try_out(shorter, &mut best);
            }
        }
        for place in 0..best.0.steps.len() {
            for simpler in best.0.steps.get(place).map(simpler).unwrap_or_default() {
                let mut script = best.0.clone();
                if let Some(step) = script.steps.get_mut(place) {
                    *step = simpler;
                    stage.try_out(script, &mut best);
                }
            }
        }
        if best.0 == before || stage.plays > PLAYS {
            return best;
        }
    }
}

struct Stage {
    house: House,
    plays: usize,
}

impl Stage {
    fn try_out(&mut self, script: Script, best: &mut (Script, Disagreement)) {
        self.plays += 1;
        if self.plays > PLAYS {
            return;
        }
        let slot = self.house.take_slot().unwrap_or_else(|| {
            self.house = House::new(script.secure);
            0
        });
        if let Err(disagreement) = play(&mut self.house, slot, &script) {
            let mut script = script;
            script.steps.truncate(disagreement.step + 1);
            *best = (script, disagreement);
        }
    }
}

/// The same with less that is special about it.
fn simpler(step: &Step) -> Vec<Step> {
    let Step::Packet(packet) = *step else { return Vec::new() };
    let plain = [
        Packet { payload: 0, ..packet },
        Packet { shape: Shape::Plain, ..packet },
        Packet { ttl: 64, ..packet },
        Packet { class: 0, ..packet },
        Packet { sum: Sum::Right, ..packet },
        Packet { dont_fragment: true, ..packet },
    ];
    plain.into_iter().filter(|plain| *plain != packet).map(Step::Packet).collect()
}
