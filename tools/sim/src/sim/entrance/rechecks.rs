//! Calls about open sessions, beside those of clients that connect.

use ht_overload::RecheckId;

use crate::sim::Sim;
use crate::sim::entrance::Visitor;

impl Sim {
    /// The API is asked again with these credentials.
    pub(crate) fn ask_again(&mut self, node: usize, id: RecheckId, credentials: (u8, usize)) {
        let number = self.visitors.len();
        self.visitors.push(Visitor {
            client: None,
            recheck: Some(id),
            node,
            life: self.nodes[node].life,
            brought: self.brought(node, credentials),
            permits: None,
            waiter: None,
            offer: None,
        });
        self.nodes[node].recheck_visits.insert(id, number);
        self.arrive(number);
    }

    /// No answer is needed any more.
    pub(crate) fn abandon_recheck(&mut self, node: usize, id: RecheckId) {
        if let Some(number) = self.nodes[node].recheck_visits.remove(&id) {
            self.leaves(number);
        }
    }
}
