//! Attempts of clients to connect: how they end, and whether their user may have one more connection.

use crate::gate::Permit;
use crate::sim::Sim;
use crate::sim::client::address;

impl Sim {
    /// A client does not wait for the API any more.
    pub(super) fn break_off(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if let Some(visit) = client.visit {
            client.gives_up(client.attempt);
            self.leaves(visit);
        }
    }

    /// Whether a user may have one more connection.
    pub(super) fn signs_in(&mut self, index: usize, node: usize, permit: &mut Permit) -> bool {
        let user = self.account(index);
        let shards = self.nodes[node].shards.iter();
        let numbers = shards.flat_map(|shard| shard.around.holders());
        let connections = numbers.map(|number| &self.connections[number]);
        let own = connections.filter(|it| it.is_admitted && self.account(it.client) == user);
        let (own, most) = (own.count(), self.plan.shape.gate.per_user);
        let may = permit.sign_in(user);
        if may != (most == 0 || own < most) {
            self.oracle
                .violation(|| format!("user {user} has {own} of {most} connections: {may}"));
        }
        may
    }

    /// The address of a connection.
    pub(crate) fn address_of(&self, number: usize) -> u8 {
        address(self.connections[number].client)
    }
}
