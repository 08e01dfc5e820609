//! What happens in the demo, in order.

use std::time::{Duration, SystemTime};

use anyhow::Result;

use super::Interrupt;
use super::account::Account;
use super::stage::{Stage, VIP};
use crate::lab::Program;

/// Ample for every single step; the protocol needs 0.36 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long after an event the client is watched on.
const AFTERMATH: Duration = Duration::from_millis(400);

const FIRST: usize = 0;
const SECOND: usize = 1;

/// Plays the story; false when the address once did not move or answer, which is then printed.
pub(super) fn play(program: &Program, interrupt: &Interrupt) -> Result<bool> {
    let account = Account::new();
    let stage = Stage::set(program)?;
    Story { stage, account, interrupt }.play()
}

struct Story<'a> {
    stage: Stage,
    account: Account,
    interrupt: &'a Interrupt,
}

/// How the first director fails.
#[derive(Clone, Copy)]
enum Failure {
    Power,
    Kill,
    Stop,
}

impl Story<'_> {
    fn play(mut self) -> Result<bool> {
        let complete = self.begin()?
            && self.fails("Power cut", Failure::Power)?
            && self.returns("... and back", Failure::Power)?
            && self.fails("Daemon killed (kill -9)", Failure::Kill)?
            && self.returns("... and restarted", Failure::Kill)?
            && self.fails("Orderly stop", Failure::Stop)?;
        if complete {
            self.account.summary();
        }
        Ok(complete)
    }

    fn begin(&mut self) -> Result<bool> {
        let since = SystemTime::now();
        self.account.tell("both directors start their daemon with etc/demo.conf");
        for director in &mut self.stage.directors {
            director.start()?;
        }
        if !self.settled_on(FIRST, since)? {
            return Ok(false);
        }
        self.account.tell(format_args!("{VIP} is on director1 (priority 200), and the client gets answers"));
        self.account.logs(&self.stage.directors, since);
        Ok(true)
    }

    fn fails(&mut self, event: &'static str, failure: Failure) -> Result<bool> {
        self.account.chapter(event);
        self.interrupt.pause(AFTERMATH)?;
        let since = SystemTime::now();
        let [first, _] = &mut self.stage.directors;
        match failure {
            Failure::Power => {
                self.account.tell("director1 loses power: its cable is dead and its daemon gone (SIGKILL)");
                first.cut_power()?;
            }
            Failure::Kill => {
                self.account.tell("director1's daemon is killed (SIGKILL); its kernel still has the address");
                first.kill();
            }
            Failure::Stop => {
                self.account.tell("director1's daemon is told to stop (SIGTERM)");
                first.stop()?;
            }
        }
        let Some(takeover) = self.stage.wait_for_takeover(since, PATIENCE, self.interrupt)? else {
            return self.failed("director2 did not take over", since);
        };
        self.account.takeover(&takeover, "director2");
        if !self.stage.wait_for_answer_by(SECOND, PATIENCE, self.interrupt)? {
            return self.failed("director2 does not answer the client", since);
        }
        self.conclude(event, since)
    }

    fn returns(&mut self, event: &'static str, from: Failure) -> Result<bool> {
        let since = SystemTime::now();
        self.account.tell("director1 starts again; it has the higher priority and takes the address back");
        let [first, _] = &mut self.stage.directors;
        match from {
            Failure::Power => first.power_on()?,
            Failure::Kill | Failure::Stop => first.start()?,
        }
        if !self.settled_on(FIRST, since)? {
            return Ok(false);
        }
        self.account.tell("director1 is master again");
        self.conclude(event, since)
    }

    fn conclude(&mut self, event: &'static str, since: SystemTime) -> Result<bool> {
        self.interrupt.pause(AFTERMATH)?;
        self.account.client(event, &self.stage.probe.report_since(since));
        self.account.logs(&self.stage.directors, since);
        Ok(true)
    }

    /// Waits until this director alone has the address and answers from it.
    fn settled_on(&mut self, holder: usize, since: SystemTime) -> Result<bool> {
        if !self.stage.wait_for_sole_holder(holder, PATIENCE, self.interrupt)? {
            return self.failed("the address is not where it should be", since);
        }
        if !self.stage.wait_for_answer_by(holder, PATIENCE, self.interrupt)? {
            return self.failed("the client gets no answer", since);
        }
        Ok(true)
    }

    fn failed(&mut self, what: &str, since: SystemTime) -> Result<bool> {
        self.account.tell(format_args!("FAILED: {what}"));
        for director in &mut self.stage.directors {
            if director.ended_by_itself() {
                self.account.tell(format_args!("the daemon of {} has ended by itself", director.name));
            }
        }
        self.account.logs(&self.stage.directors, since);
        Ok(false)
    }
}
