//! The table.

use std::fmt;

use crate::contestant::Pair;

#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

/// One measure; less is better.
struct Row {
    measure: String,
    unit: &'static str,
    figures: Figures,
    target: Target,
}

/// A measure of both programs, or of Buoy alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    buoy: f64,
    keepalived: Option<f64>,
}

impl From<Pair<f64>> for Figures {
    fn from(Pair { buoy, keepalived }: Pair<f64>) -> Self {
        Self { buoy, keepalived: Some(keepalived) }
    }
}

impl From<f64> for Figures {
    fn from(buoy: f64) -> Self {
        Self { buoy, keepalived: None }
    }
}

/// What Buoy is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(dead_code, reason = "each bench has aims of its own")]
pub(crate) enum Target {
    /// Not more than keepalived.
    Keepalived,
    /// Not more than keepalived; half of it would be fine.
    HalfIfPossible,
    /// Not more than half of keepalived.
    Half,
    /// Not more than keepalived and so much.
    KeepalivedAnd(f64),
    /// A fixed bound, whatever keepalived does.
    AtMost(f64),
    /// Told for information.
    None,
}

impl Report {
    pub(crate) fn add(
        &mut self,
        measure: impl Into<String>,
        unit: &'static str,
        figures: impl Into<Figures>,
        target: Target,
    ) {
        let row = Row { measure: measure.into(), unit, figures: figures.into(), target };
        eprintln!("{row}");
        self.rows.push(row);
    }
}

impl Row {
    fn verdict(&self) -> &'static str {
        let Figures { buoy, keepalived } = self.figures;
        let at_most = |share: f64, more: f64| keepalived.is_some_and(|theirs| buoy <= theirs * share + more);
        let (reached, words) = match self.target {
            Target::None => return "",
            Target::AtMost(bound) => (buoy <= bound, "reached"),
            Target::HalfIfPossible if at_most(0.5, 0.0) => (true, "reached, half"),
            Target::Keepalived | Target::HalfIfPossible => (at_most(1.0, 0.0), "reached"),
            Target::Half => (at_most(0.5, 0.0), "reached"),
            Target::KeepalivedAnd(more) => (at_most(1.0, more), "reached"),
        };
        if reached { words } else { "**missed**" }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| measure | Buoy | keepalived | to reach | |")?;
        writeln!(f, "| --- | ---: | ---: | --- | --- |")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { measure, unit, figures, target } = self;
        write!(f, "| {measure} | {:.2} {unit} | ", figures.buoy)?;
        if let Some(keepalived) = figures.keepalived {
            write!(f, "{keepalived:.2} {unit} ")?;
        }
        write!(f, "| {target} | {} |", self.verdict())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keepalived => f.write_str("keepalived's"),
            Self::HalfIfPossible => f.write_str("keepalived's, better half"),
            Self::Half => f.write_str("half of keepalived's"),
            Self::KeepalivedAnd(more) => write!(f, "keepalived's + {more}"),
            Self::AtMost(bound) => write!(f, "{bound}"),
            Self::None => Ok(()),
        }
    }
}
