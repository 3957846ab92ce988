//! How rows are read: one pipelined round trip per node, decoded from the client's own reply.

use std::sync::Arc;

use larder_base::{FeatureBlock, OnlineRead, Result, ViewRead};
use redis::{Cmd, Pipeline, Value};

use crate::connect::Conn;
use crate::connect::link::Link;
use crate::connect::node::Node;
use crate::fault::{self, Fault, Turn};
use crate::layout::{Layout, Place};
use crate::store::Settings;

/// Keys of one `MGET`: larger requests are cut, so that the server does something else in between.
const KEYS_PER_COMMAND: usize = 5_000;

/// What is asked, with all that is known before.
pub(crate) struct Asked<'a> {
    pub(crate) request: &'a OnlineRead,
    /// The places of the views, group by group.
    places: Vec<Vec<Place>>,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(request: &'a OnlineRead) -> Self {
        let places =
            |group: &larder_base::KeyGroup| group.views.iter().map(|view| Place::of(&view.layout)).collect();
        Self {
            request,
            places: request.groups.iter().map(places).collect(),
        }
    }

    /// The place of a view of a group.
    pub(crate) fn place(&self, group: usize, view: usize) -> Place {
        self.places[group][view]
    }

    /// Each (group, row) that has a key.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (usize, usize, &'a [u8])> {
        let groups = self.request.groups.iter().enumerate();
        groups.flat_map(|(group, of)| {
            let rows = of.keys.iter().enumerate();
            rows.filter_map(move |(row, key)| Some((group, row, key?)))
        })
    }

    /// Each (view, row) that has a key, in the order in which one server is asked.
    fn cells(&self) -> impl Iterator<Item = (&'a ViewRead, usize)> {
        self.keys().flat_map(|(group, row, _)| {
            let views = self.request.groups[group].views.iter();
            views.map(move |view| (view, row))
        })
    }

    /// How many keys are asked for, one for each entity and view.
    pub(crate) fn count(&self) -> usize {
        let keys = |group: &larder_base::KeyGroup| group.keys.iter().flatten().count() * group.views.len();
        self.request.groups.iter().map(keys).sum()
    }
}

/// Reads everything from one server, or from its replica where that is wanted and works.
pub(crate) async fn from_one(
    primary: &Node,
    replica: Option<&Node>,
    asked: &Asked<'_>,
    settings: &Settings,
    out: &mut FeatureBlock,
    partial: bool,
) -> Result<(), Fault> {
    let commands = commands(asked, &settings.layout);
    if commands.is_empty() {
        return Ok(());
    }
    settings.meters.read.keys.increment(asked.count() as u64);
    let answers = match replica {
        None => twice(primary, &commands, settings).await?,
        Some(replica) => match once(replica.reader(), &commands, settings).await {
            Ok(answers) => answers,
            Err(fault) if fault.passes() => {
                settings.meters.read.retries.increment(1);
                twice(primary, &commands, settings).await?
            }
            Err(fault) => return Err(fault),
        },
    };
    let mut values = answers.iter().flat_map(|answer| match answer {
        Value::Array(values) => values.as_slice(),
        _ => &[],
    });
    for (view, row) in asked.cells() {
        let value = values
            .next()
            .ok_or_else(|| fault::odd("redis answered fewer values than keys"))?;
        put(out, view, row, value, partial)?;
    }
    Ok(())
}

/// Puts one value where it belongs.
///
/// A row that is no row is an error, or only unavailable where partial answers are welcome.
#[inline]
pub(crate) fn put(
    out: &mut FeatureBlock,
    view: &ViewRead,
    row: usize,
    value: &Value,
    partial: bool,
) -> Result<(), Fault> {
    let bytes = match value {
        Value::BulkString(bytes) => bytes,
        Value::Nil => return Ok(()),
        _ => return Err(fault::odd("redis answered something else than a value")),
    };
    match out.put_row(view.slot, row, bytes) {
        Ok(()) => Ok(()),
        Err(error) if partial => {
            out.fail(view.slot, row, error.kind());
            Ok(())
        }
        Err(error) => Err(Fault::damaged(view.layout.view(), row, &error)),
    }
}

fn commands(asked: &Asked<'_>, layout: &Layout) -> Vec<Cmd> {
    let count = asked.count();
    let mut commands = Vec::with_capacity(count.div_ceil(KEYS_PER_COMMAND));
    let mut left = count;
    let mut key = Vec::new();
    for (group, row_key) in asked.keys().map(|(group, _, key)| (group, key)) {
        for place in &asked.places[group] {
            if left.is_multiple_of(KEYS_PER_COMMAND) || commands.is_empty() {
                let keys = left.min(KEYS_PER_COMMAND);
                let mut command =
                    Cmd::with_capacity(keys + 1, keys * (layout.overhead() + row_key.len()) + 4);
                command.arg("MGET");
                commands.push(command);
            }
            layout.row(&mut key, *place, row_key);
            if let Some(command) = commands.last_mut() {
                command.arg(key.as_slice());
            }
            left -= 1;
        }
    }
    commands
}

/// Asks, and once more on a new connection where the first one turns out to be broken.
async fn twice(node: &Node, commands: &[Cmd], settings: &Settings) -> Result<Vec<Value>, Fault> {
    match once(node.reader(), commands, settings).await {
        Err(fault) if fault.turn == Turn::Reconnect => {
            settings.meters.read.retries.increment(1);
            once(node.reader(), commands, settings).await
        }
        result => result,
    }
}

async fn once(link: &Link, commands: &[Cmd], settings: &Settings) -> Result<Vec<Value>, Fault> {
    let conn = link.conn().await?;
    settings.meters.read.round_trips.increment(1);
    let result = ask(&conn, commands, settings).await;
    if let Err(fault) = &result {
        link.judge(&conn, fault);
    }
    result
}

async fn ask(conn: &Arc<Conn>, commands: &[Cmd], settings: &Settings) -> Result<Vec<Value>, Fault> {
    if let [one] = commands {
        return Ok(vec![conn.command(one, settings.timeout).await?]);
    }
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.add_command(command.clone());
    }
    let answers = conn.pipeline(&pipeline, settings.timeout).await?;
    match answers.iter().find_map(|answer| match answer {
        Value::ServerError(error) => Some(conn.refusal(error)),
        _ => None,
    }) {
        Some(fault) => Err(fault),
        None => Ok(answers),
    }
}
