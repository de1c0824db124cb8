//! The figures as Markdown.
//! Invariant: a cell without a figure is a dash.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use crate::{
    Figures,
    measure::{Answers, Measured},
    service::Used,
    storm::Storm,
};

/// The callers whose figures are compared: the machine is busy, and nothing queues.
const COMPARED: usize = 16;

pub(crate) fn markdown([lite, server]: &[Figures; 2], hash: Duration) -> String {
    let mut text = String::new();
    // A `String` takes everything.
    let _ = write(&mut text, (lite, server), hash);
    text
}

fn write(text: &mut String, (lite, server): (&Figures, &Figures), hash: Duration) -> fmt::Result {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    writeln!(
        text,
        "{cores} cores, callers on the same ones. One argon2id hash: {:.1} ms of CPU time.\n",
        millis(hash)
    )?;
    if !lite.calls.is_empty() {
        calls(text, lite)?;
        calls(text, server)?;
        compared(text, (lite, server), hash)?;
    }
    text.push_str(
        "| Database | Signing in | Reads/s | p50 ms | p99 ms | Reads refused | Logins/s | Logins refused |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for figures in [lite, server] {
        for storm in &figures.storms {
            stormy(text, figures.database, storm)?;
        }
    }
    Ok(())
}

fn calls(text: &mut String, figures: &Figures) -> fmt::Result {
    let database = figures.database;
    writeln!(
        text,
        "| {database} | Callers | Calls/s | p50 ms | p99 ms | Calls per CPU s of the service | With the database | Refused |\n\
         |---|---|---|---|---|---|---|---|"
    )?;
    for (kind, levels) in &figures.calls {
        for measured in levels {
            let Measured {
                callers,
                answers,
                used,
            } = measured;
            let per = |used: Duration| figure(answers.count() as f64 / used.as_secs_f64(), 0);
            writeln!(
                text,
                "| {} | {callers} | {} | {} | {} | {} |",
                kind.name(),
                served(answers),
                per(used.service),
                per(used.service + used.database),
                refused(answers),
            )?;
        }
    }
    writeln!(text)
}

fn compared(
    text: &mut String,
    (lite, server): (&Figures, &Figures),
    hash: Duration,
) -> fmt::Result {
    writeln!(
        text,
        "| CPU ms for each, {COMPARED} callers | SQLite | in hashes | PostgreSQL: service | with the server | PostgreSQL : SQLite |\n\
         |---|---|---|---|---|---|"
    )?;
    for ((kind, on_lite), (_, on_server)) in lite.calls.iter().zip(&server.calls) {
        let (Some(on_lite), Some((service, all))) =
            (each(on_lite).map(|(_, all)| all), each(on_server))
        else {
            continue;
        };
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            kind.name(),
            figure(on_lite, 2),
            figure(on_lite / millis(hash), 2),
            figure(service, 2),
            figure(all, 2),
            figure(all / on_lite, 2),
        )?;
    }
    writeln!(text)
}

/// CPU milliseconds of the service, and with the database, for each call.
fn each(levels: &[Measured]) -> Option<(f64, f64)> {
    let measured = levels.iter().find(|level| level.callers == COMPARED)?;
    let Used { service, database } = measured.used;
    let of = |used: Duration| millis(used) / measured.answers.count() as f64;
    Some((of(service), of(service + database)))
}

fn stormy(text: &mut String, database: &str, storm: &Storm) -> fmt::Result {
    writeln!(
        text,
        "| {database} | {} | {} | {} | {} | {} |",
        storm.callers,
        served(&storm.reads),
        refused(&storm.reads),
        figure(storm.logins.per_second(), 0),
        refused(&storm.logins),
    )
}

/// Three cells: answers in a second, median, 99th percentile.
fn served(answers: &Answers) -> String {
    let latency = |share| figure(answers.latency(share).unwrap_or(f64::NAN), 1);
    let rate = figure(answers.per_second(), 0);
    format!("{rate} | {} | {}", latency(0.5), latency(0.99))
}

fn refused(answers: &Answers) -> String {
    let told = answers.refused.iter();
    let told: Vec<_> = told
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    match told.is_empty() {
        true => "0".to_owned(),
        false => told.join(", "),
    }
}

fn figure(value: f64, decimals: usize) -> String {
    match value.is_finite() {
        true => format!("{value:.decimals$}"),
        false => "-".to_owned(),
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
