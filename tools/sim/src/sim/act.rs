//! External events.

use crate::plan::Action;
use crate::sim::Sim;
use crate::sim::entrance::Crowd;

impl Sim {
    pub(super) fn act(&mut self, action: Action) {
        self.note(|| format!("{action:?}"));
        match action {
            Action::Connect {
                client,
                node,
                grants,
                bootstrap,
            } => self.connect_as(client, node, grants, bootstrap),
            Action::Subscribe { client, room } if self.is_page(client) => {
                self.page_follows(client, room, false);
            }
            Action::Subscribe { client, room } => self.subscribe(client, room),
            Action::SubscribeSince { client, room } => self.page_follows(client, room, true),
            Action::Unsubscribe { client, which } if self.is_page(client) => {
                self.page_leaves(client, which);
            }
            Action::Unsubscribe { client, which } => self.unsubscribe(client, which),
            Action::Ping(client) if self.is_page(client) => self.page_pings(client),
            Action::Ping(client) => self.ping(client),
            Action::Blink {
                client,
                silent,
                within,
            } => self.blink(client, silent, within),
            Action::Rewind(count, away) => self.rewind(count, away),
            Action::Read(client, pace) => self.pace(client, pace),
            Action::Cut { client, silent } => self.cut(client, silent),
            Action::Leave(client) => self.leave(client),
            Action::Publish {
                node,
                rooms,
                count,
                bytes,
            } => (0..count).for_each(|_| self.publish(node, &rooms, bytes)),
            Action::Command {
                node,
                order,
                around,
            } => self.command(node, order, around),
            Action::Crash(node, back) => self.end(node, back),
            Action::Drain { node, delay, back } => self.begin_drain(node, delay, back),
            Action::Hurry(node) => self.hurry(node),
            Action::Stall(node, shard, ms) => {
                if let Some(shard) = self.nodes[node].shards.get_mut(shard) {
                    shard.stalled_until = self.events.now + ms;
                }
            }
            Action::Lose(node, count) => self.nodes[node].lose += count,
            Action::Repeat(node, count) => self.nodes[node].repeat += count,
            Action::Unbind(node) => self.nodes[node].is_bound = false,
            Action::CutConsumer(node, away) => self.cut_consumer(node, away),
            Action::CutPublisher(node) => self.cut_publisher(node),
            Action::Mood(mood, ms) => self.mood(mood, ms),
            Action::Crowd {
                node,
                address,
                count,
                same,
                bootstrap,
                patience,
            } => self.crowd(
                node,
                Crowd {
                    address,
                    count,
                    same,
                    bootstrap,
                    patience,
                },
            ),
        }
    }
}
