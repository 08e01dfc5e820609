//! Showing findings: to people with the line and a caret, to machines as JSON, to logs one per line.

use std::fmt::Write;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

use super::finding::{Finding, Findings, Severity};
use super::source::Sources;

/// With the line, a caret, the nearest known word and what was assumed.
pub fn for_people(findings: &Findings, sources: &Sources, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for finding in findings {
        out.push_str(&renderer.render(&[report(finding, sources)]));
        out.push_str("\n\n");
    }
    if findings.unlisted() > 0 {
        let _ = writeln!(out, "and {} more warnings", findings.unlisted());
    }
    out
}

fn report<'a>(finding: &'a Finding, sources: &'a Sources) -> Group<'a> {
    let level = match finding.severity {
        Severity::Note => Level::NOTE,
        Severity::Warning => Level::WARNING,
        Severity::Error => Level::ERROR,
    };
    let mut group =
        Group::with_title(level.primary_title(finding.message.as_str()).id(finding.code.to_string()));
    if let Some((span, source)) = finding.span.and_then(|span| Some((span, sources.file(span)?))) {
        let (number, line, start) = source.line(span.start);
        let from = (span.start as usize).saturating_sub(start).min(line.len());
        let to = (span.end as usize).saturating_sub(start).clamp(from, line.len());
        group = group.element(
            Snippet::source(line)
                .line_start(number)
                .path(source.path().display().to_string())
                .annotation(AnnotationKind::Primary.span(from..to)),
        );
    }
    if let Some(word) = &finding.nearest {
        group = group.element(Level::HELP.message(format!("did you mean `{word}`?")));
    }
    if let Some(assumed) = &finding.assumed {
        group = group.element(Level::NOTE.message(format!("assumed: {assumed}")));
    }
    group
}

/// `FILE:LINE:COLUMN: warning: ...`, one per finding.
pub fn lines(findings: &Findings, sources: &Sources) -> Vec<String> {
    findings.iter().map(|finding| line(finding, sources)).collect()
}

fn line(finding: &Finding, sources: &Sources) -> String {
    let mut out = String::new();
    if let Some((span, source)) = finding.span.and_then(|span| Some((span, sources.file(span)?))) {
        let position = source.position(span.start);
        let _ = write!(out, "{}:{}:{}: ", source.path().display(), position.line, position.column);
    }
    let _ = write!(out, "{}: {}", finding.severity, finding.message);
    if let Some(word) = &finding.nearest {
        let _ = write!(out, "; did you mean `{word}`?");
    }
    if let Some(assumed) = &finding.assumed {
        let _ = write!(out, " (assumed: {assumed})");
    }
    out
}

/// A finding for machines. Lines and columns count from 1; columns are characters.
#[derive(Serialize)]
struct Record<'a> {
    severity: Severity,
    code: super::Code,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assumed: Option<&'a str>,
}

/// The findings as values of JSON.
pub fn json(findings: &Findings, sources: &Sources) -> serde_json::Value {
    let records = findings.iter().map(|finding| {
        let place = finding.span.and_then(|span| Some((span, sources.file(span)?)));
        let start = place.map(|(span, source)| source.position(span.start));
        let end = place.map(|(span, source)| source.position(span.end));
        let record = Record {
            severity: finding.severity,
            code: finding.code,
            message: &finding.message,
            file: place.map(|(_, source)| source.path().display().to_string()),
            line: start.map(|p| p.line),
            column: start.map(|p| p.column),
            end_column: end.filter(|e| start.is_some_and(|s| s.line == e.line)).map(|p| p.column),
            nearest: finding.nearest.as_deref(),
            assumed: finding.assumed.as_deref(),
        };
        serde_json::to_value(record).unwrap_or_default()
    });
    records.collect()
}
