//! The table.

use std::fmt;

use crate::contestant::Pair;

#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

/// One measure of both programs; less is better.
pub(crate) struct Row {
    pub(crate) measure: String,
    pub(crate) unit: &'static str,
    pub(crate) figures: Pair<f64>,
    pub(crate) target: Target,
}

/// What Buoy is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// Not more than keepalived.
    Keepalived,
    /// Not more than keepalived; half of it would be fine.
    HalfIfPossible,
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
        figures: Pair<f64>,
        target: Target,
    ) {
        let row = Row { measure: measure.into(), unit, figures, target };
        eprintln!("{row}");
        self.rows.push(row);
    }
}

impl Row {
    fn verdict(&self) -> &'static str {
        let Pair { buoy, keepalived } = self.figures;
        match self.target {
            Target::None => "",
            Target::AtMost(bound) if buoy <= bound => "reached",
            Target::HalfIfPossible if buoy <= keepalived / 2.0 => "reached, half",
            Target::Keepalived | Target::HalfIfPossible if buoy <= keepalived => "reached",
            Target::AtMost(_) | Target::Keepalived | Target::HalfIfPossible => "**missed**",
        }
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
        let (buoy, keepalived) = (figures.buoy, figures.keepalived);
        write!(f, "| {measure} | {buoy:.2} {unit} | {keepalived:.2} {unit} | {target} | {} |", self.verdict())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keepalived => f.write_str("keepalived's"),
            Self::HalfIfPossible => f.write_str("keepalived's, better half"),
            Self::AtMost(bound) => write!(f, "{bound}"),
            Self::None => Ok(()),
        }
    }
}
