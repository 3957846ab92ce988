//! How rows are read from a cluster: one pipeline per node, redirections followed, a dead shard told apart.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use larder_base::{ErrorKind, FeatureBlock, RowStatus};
use redis::{Cmd, Pipeline, Value};

use super::Cluster;
use super::slots::SlotMap;
use crate::config::ReadFrom;
use crate::connect::node::Node;
use crate::fault::{self, Fault, Turn};
use crate::layout::slot_of_entity;
use crate::read::{Asked, put};
use crate::store::Settings;

/// How often what was not answered is asked again, elsewhere or after a new map.
const ROUNDS: usize = 5;

/// A read on its way: what was asked, and what is still to be answered.
pub(crate) struct ClusterRead<'a> {
    cluster: &'a Cluster,
    asked: &'a Asked<'a>,
    settings: &'a Settings,
    partial: bool,
    /// Redis keys of one entity, which are all in one slot.
    entities: Vec<Entity<'a>>,
}

struct Entity<'a> {
    group: usize,
    row: usize,
    key: &'a [u8],
    slot: u16,
}

/// One command: views of one entity.
#[derive(Debug, Clone, Copy)]
struct Want {
    entity: usize,
    /// One view, where the slot is on its way and the keys must be asked for singly; else all.
    view: Option<usize>,
}

/// What must be asked again.
#[derive(Default)]
struct Again {
    /// Of whoever serves it by the map.
    wants: Vec<Want>,
    /// Of the node that was named.
    elsewhere: Vec<Part>,
}

impl Again {
    fn is_empty(&self) -> bool {
        self.wants.is_empty() && self.elsewhere.is_empty()
    }
}

/// Commands for one node.
struct Part {
    node: Arc<Node>,
    wants: Vec<Want>,
    /// Whether the node must be told that it was named by another.
    asking: bool,
}

impl<'a> ClusterRead<'a> {
    pub(crate) fn new(
        cluster: &'a Cluster,
        asked: &'a Asked<'a>,
        settings: &'a Settings,
        partial: bool,
    ) -> Self {
        let entity = |(group, row, key)| Entity {
            group,
            row,
            key,
            slot: slot_of_entity(key),
        };
        Self {
            cluster,
            asked,
            settings,
            partial,
            entities: asked
                .keys()
                .filter(|(group, ..)| !asked.request.groups[*group].views.is_empty())
                .map(entity)
                .collect(),
        }
    }

    /// How many views of each entity were answered so far: nothing.
    ///
    /// Held by the caller, who still has it when the read is dropped at its deadline.
    pub(crate) fn nothing_yet(&self) -> Vec<usize> {
        vec![0; self.entities.len()]
    }

    /// Reads. What could not be read is an error, or unavailable where partial answers are welcome.
    pub(crate) async fn run(&self, answered: &mut [usize], out: &mut FeatureBlock) -> Result<(), Fault> {
        if self.entities.is_empty() {
            return Ok(());
        }
        let asked = self.asked.count() as u64;
        self.settings.meters.read.keys.increment(asked);
        let mut map = self.cluster.map().await?;
        let all = (0..self.entities.len())
            .map(|entity| Want { entity, view: None })
            .collect();
        let (mut parts, mut failed) = self.by_node(all, &map, self.settings.read_from);
        for round in 1..=ROUNDS {
            let mut fault = (!failed.is_empty()).then(fault::unserved);
            let mut again = Again::default();
            let mut running: FuturesUnordered<_> = parts.into_iter().map(|part| self.ask(part)).collect();
            while let Some((part, answer)) = running.next().await {
                match answer {
                    Ok(values) => {
                        let told = self.take(&part, &values, answered, out, &mut again)?;
                        fault = fault.or(told);
                    }
                    Err(error) if error.passes() => {
                        failed.extend(part.wants);
                        fault = Some(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            drop(running);
            if let Some(fault) = fault {
                // A node that was silent has used the time up; one that is gone may have a successor.
                let moved = matches!(fault.turn, Turn::Moved { .. });
                if fault.turn == Turn::Silent || round == ROUNDS || (round > 1 && !moved) {
                    return self.give_up(fault, answered, out);
                }
                self.settings.meters.read.retries.increment(1);
                self.cluster.refresh(&map).await;
                map = self.cluster.map().await?;
            } else if again.is_empty() {
                return Ok(());
            }
            again.wants.append(&mut failed);
            (parts, failed) = self.by_node(again.wants, &map, ReadFrom::Primary);
            parts.append(&mut again.elsewhere);
        }
        self.give_up(fault::unserved(), answered, out)
    }

    fn give_up(&self, fault: Fault, answered: &[usize], out: &mut FeatureBlock) -> Result<(), Fault> {
        if !self.partial || !fault.is_passing() {
            return Err(fault);
        }
        tracing::debug!(kind = %fault.kind(), "partial answer of the redis cluster");
        self.fail_rest(fault.kind(), answered, out);
        Ok(())
    }

    /// Marks what was not answered as unavailable.
    pub(crate) fn fail_rest(&self, kind: ErrorKind, answered: &[usize], out: &mut FeatureBlock) {
        for (entity, answered) in self.entities.iter().zip(answered) {
            let views = &self.asked.request.groups[entity.group].views;
            if *answered >= views.len() {
                continue;
            }
            for view in views {
                if out.status(view.slot, entity.row) == RowStatus::NotFound {
                    out.fail(view.slot, entity.row, kind);
                }
            }
        }
    }

    /// Splits commands by the node that serves them; what nobody serves comes second.
    fn by_node(&self, wants: Vec<Want>, map: &SlotMap, from: ReadFrom) -> (Vec<Part>, Vec<Want>) {
        let mut shards: Vec<Vec<Want>> = vec![Vec::new(); map.shards().len()];
        let mut unserved = Vec::new();
        for want in wants {
            match map.shard_of(self.entities[want.entity].slot) {
                Some(shard) => shards[shard].push(want),
                None => unserved.push(want),
            }
        }
        let filled = map
            .shards()
            .iter()
            .zip(shards)
            .filter(|(_, wants)| !wants.is_empty());
        let parts = filled.map(|(shard, wants)| {
            let replica = match from {
                ReadFrom::Replica => self.cluster.replica(shard),
                ReadFrom::Primary => None,
            };
            Part {
                node: replica.unwrap_or_else(|| self.cluster.node(&shard.primary)),
                wants,
                asking: false,
            }
        });
        (parts.collect(), unserved)
    }

    async fn ask(&self, part: Part) -> (Part, Result<Vec<Value>, Fault>) {
        let pipeline = self.pipeline(&part);
        let link = part.node.reader();
        let answer = async {
            let conn = link.conn().await?;
            self.settings.meters.read.round_trips.increment(1);
            let answer = conn.pipeline(&pipeline, self.settings.timeout).await;
            answer.inspect_err(|fault| link.judge(&conn, fault))
        };
        let mut answer = answer.await;
        if let (Ok(values), true) = (&mut answer, part.asking) {
            // Every second answer is that to ASKING.
            let mut number = 0;
            values.retain(|_| {
                number += 1;
                number % 2 == 0
            });
        }
        (part, answer)
    }

    fn pipeline(&self, part: &Part) -> Pipeline {
        let layout = &self.settings.layout;
        let mut pipeline = Pipeline::with_capacity(part.wants.len() * if part.asking { 2 } else { 1 });
        let mut buffer = Vec::new();
        for want in &part.wants {
            if part.asking {
                pipeline.add_command(redis::cmd("ASKING"));
            }
            let entity = &self.entities[want.entity];
            let views = self.views(*want);
            let mut command = Cmd::with_capacity(
                1 + views.len(),
                4 + views.len() * (entity.key.len() + layout.overhead()),
            );
            command.arg("MGET");
            for view in views {
                layout.row(&mut buffer, self.asked.place(entity.group, view), entity.key);
                command.arg(buffer.as_slice());
            }
            pipeline.add_command(command);
        }
        pipeline
    }

    /// The views of a command, by their numbers in the group.
    fn views(&self, want: Want) -> std::ops::Range<usize> {
        match want.view {
            Some(view) => view..view + 1,
            None => {
                0..self.asked.request.groups[self.entities[want.entity].group]
                    .views
                    .len()
            }
        }
    }

    /// Puts what a node answered, and notes what must be asked again. Answers a fault that may pass.
    fn take(
        &self,
        part: &Part,
        values: &[Value],
        answered: &mut [usize],
        out: &mut FeatureBlock,
        again: &mut Again,
    ) -> Result<Option<Fault>, Fault> {
        let mut passing = None;
        for (want, value) in part.wants.iter().zip(values) {
            let fault = match value {
                Value::Array(cells) => {
                    self.put(*want, cells, out)?;
                    answered[want.entity] += cells.len();
                    continue;
                }
                Value::ServerError(error) => fault::of_server(error),
                _ => return Err(fault::odd("redis answered something else than values")),
            };
            match &fault.turn {
                Turn::Moved { slot, to } => {
                    self.cluster.moved(*slot, to);
                    again.wants.push(*want);
                    passing = Some(fault);
                }
                Turn::Ask(to) => match self.cluster.named(to) {
                    Some(node) => again.elsewhere.push(Part {
                        node,
                        wants: self.singly(*want),
                        asking: true,
                    }),
                    None => again.wants.push(*want),
                },
                Turn::Split => again.wants.extend(self.singly(*want)),
                _ if fault.passes() => {
                    again.wants.push(*want);
                    passing = Some(fault);
                }
                _ => return Err(fault),
            }
        }
        Ok(passing)
    }

    fn singly(&self, want: Want) -> Vec<Want> {
        let view = |view| Want {
            entity: want.entity,
            view: Some(view),
        };
        self.views(want).map(view).collect()
    }

    fn put(&self, want: Want, cells: &[Value], out: &mut FeatureBlock) -> Result<(), Fault> {
        let views = self.views(want);
        if cells.len() != views.len() {
            return Err(fault::odd("redis answered another number of values than keys"));
        }
        let entity = &self.entities[want.entity];
        for (view, cell) in views.zip(cells) {
            let view = &self.asked.request.groups[entity.group].views[view];
            put(out, view, entity.row, cell, self.partial)?;
        }
        Ok(())
    }
}
