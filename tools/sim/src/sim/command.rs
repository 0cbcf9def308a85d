//! Commands of the API: it changes what its users may do, and says so among its publications.

use std::sync::Arc;

use ht_control::input::Input;
use ht_core::command::Command;

use crate::mutant::Mutant;
use crate::orders::{self, Deed, Known, Order, USERS, Whom};
use crate::sim::{Sim, Trigger};

impl Sim {
    /// The API changes what some may do and publishes that at a node, between two publications.
    pub(super) fn command(&mut self, node: usize, order: Order, around: usize) {
        let Some(order) = self.resolve(order) else {
            return;
        };
        // Each tenant commands in turn: what it names is there in the other one as well.
        let tenant = self.triggers.len() / 3 % self.plan.shape.tenants;
        let order = Order { tenant, ..order };
        if let Deed::Permit(grants) | Deed::Invalidate(Some(grants)) = order.deed {
            self.grant(order, grants);
        }
        self.publish(node, &[around], 10);
        self.post_new(
            node,
            Trigger {
                tenant,
                id: self.triggers.len(),
                rooms: Vec::new(),
                bytes: 0,
                order: Some(order),
            },
        );
        self.publish(node, &[around], 10);
    }

    /// The APIs of all tenants publish the same at a node.
    pub(super) fn publish(&mut self, node: usize, rooms: &[usize], bytes: usize) {
        let id = self.triggers.len();
        for tenant in 0..self.plan.shape.tenants {
            let rooms = rooms.to_vec();
            let order = None;
            self.post_new(
                node,
                Trigger {
                    tenant,
                    id,
                    rooms,
                    bytes,
                    order,
                },
            );
        }
    }

    /// The API publishes something at a node.
    fn post_new(&mut self, node: usize, trigger: Trigger) {
        let Trigger {
            tenant,
            rooms,
            order,
            ..
        } = &trigger;
        let now = self.events.now;
        let number = self.oracle.publishes(*tenant, rooms.clone(), *order, now);
        self.triggers.push(trigger);
        self.post(number, 0, node);
    }

    /// The API has other grants for the users of these sessions.
    fn grant(&mut self, order: Order, grants: usize) {
        for user in 0..USERS {
            let account = orders::account(user, order.tenant);
            let is_meant = match order.whom {
                Whom::Connection(number) => {
                    let client = self.connections[number].client;
                    account == orders::account(client, self.plan.shape.tenant(client))
                }
                Whom::User(_)
                | Whom::SignIn(_)
                | Whom::Label(_)
                | Whom::Room(_)
                | Whom::Everyone => order.means(Known {
                    tenant: order.tenant,
                    connection: usize::MAX,
                    client: user,
                    grants: self.rights[account],
                }),
            };
            if is_meant {
                self.rights[account] = grants;
            }
        }
    }

    /// A connection is named by its number.
    fn resolve(&self, order: Order) -> Option<Order> {
        let Whom::Connection(client) = order.whom else {
            return Some(order);
        };
        let whom = Whom::Connection(self.clients[client].connection?);
        Some(Order { whom, ..order })
    }

    /// Hands a command to every shard of a node.
    pub(super) fn hand_on_command(&mut self, index: usize, number: usize, position: u64) {
        let Some(mut order) = self.triggers[number].order else {
            return;
        };
        if self.plan.mutant == Some(Mutant::OneCommander) {
            order.tenant = 0;
        }
        let command = order.command(number, position, &self.identities);
        let (check, now) = (Self::check_of(number), self.events.now);
        let node = &mut self.nodes[index];
        node.last_command = position;
        if self.plan.mutant != Some(Mutant::ForgottenCommand) {
            node.window.append_command(&command, check, now);
        }
        node.interest.advance(position);
        for shard in 0..self.nodes[index].shards.len() {
            self.oracle
                .hands_command(self.nodes[index].life, shard, position);
            match self.plan.mutant {
                Some(Mutant::MissedCommand) if shard == 0 => {}
                Some(Mutant::LateCommand) => {
                    let late = &mut self.nodes[index].late_commands;
                    late.push((shard, Arc::clone(&command)));
                }
                _ => self.hand_command(index, shard, Arc::clone(&command)),
            }
        }
    }

    /// Commands that a planted bug held back.
    pub(super) fn hand_late_commands(&mut self, index: usize) {
        for (shard, command) in std::mem::take(&mut self.nodes[index].late_commands) {
            self.hand_command(index, shard, command);
        }
    }

    fn hand_command(&mut self, index: usize, shard: usize, command: Arc<Command>) {
        let now = self.events.now;
        let is_silent = self.plan.mutant == Some(Mutant::SilentCommands);
        let node = &mut self.nodes[index];
        let instead = |last: &Command| match is_silent {
            false => Input::CommandsLost(last.selection.tenant, last.position),
            true => Input::Probe(()),
        };
        let lost = node.shards[shard].command(command, instead, now);
        let lost = lost.iter().filter_map(|input| input.command());
        let positions: Vec<_> = lost.map(|command| command.position).collect();
        if !positions.is_empty() {
            let life = node.life;
            self.oracle.loses_commands(life, shard, &positions);
            self.note(|| format!("shard {shard} of node {index} lost commands {positions:?}"));
        }
        self.wake(index, shard, now + 1);
    }

    /// A shard carried out commands.
    pub(super) fn on_carried_out(&mut self, index: usize, shard: usize) {
        let own = &mut self.nodes[index];
        let life = own.life;
        let outside = &mut own.shards[shard].around.outside;
        for position in std::mem::take(&mut outside.carried_out) {
            self.note(|| format!("shard {shard} of node {index} carried out {position}"));
            self.oracle.carried_out(life, shard, position);
            self.commands += 1;
        }
    }
}
