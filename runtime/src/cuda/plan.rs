//! What of a tape is computed, when, and what may wait for the operation that reads it and become part of it.

use super::tape::{Id, Node, Op};

/// The order of a tape.
#[derive(Debug)]
pub(super) struct Order {
    /// Operations whose results are wanted.
    pub(super) live: Vec<bool>,
    /// Operations that wait for their reader: a norm for its projections, a projection for the gate, the sum or the choice
    /// that takes it, experts for the sum, keys and values for the attention, attention and gates for a projection.
    pub(super) waits: Vec<bool>,
    /// For each operation those whose results nobody reads after it.
    pub(super) dies: Vec<Vec<Id>>,
}

impl Order {
    /// Of a tape whose result is `root`.
    pub(super) fn new(nodes: &[Node], root: Id) -> Self {
        let live = live(nodes, root);
        let mut readers: Vec<Vec<Id>> = vec![Vec::new(); nodes.len()];
        for (id, node) in nodes.iter().enumerate().filter(|(id, _)| live[*id]) {
            for input in node.op.inputs().into_iter().flatten() {
                readers[input].push(id);
            }
        }
        let waits: Vec<bool> = (0..nodes.len())
            .map(|id| live[id] && waits(nodes, &readers[id], id))
            .collect();
        // When an operation is computed at the latest: with its last reader if it waits.
        let mut when: Vec<Id> = (0..nodes.len()).collect();
        let mut dies = vec![Vec::new(); nodes.len()];
        for id in (0..nodes.len()).rev().filter(|id| live[*id]) {
            let last = readers[id].iter().map(|reader| when[*reader]).max();
            if waits[id] {
                when[id] = last.unwrap_or(id);
            }
            if let Some(last) = last
                && id != root
            {
                dies[last].push(id);
            }
        }
        Self { live, waits, dies }
    }
}

/// What the result needs, and all that writes to the cache.
fn live(nodes: &[Node], root: Id) -> Vec<bool> {
    let mut live = vec![false; nodes.len()];
    for (id, node) in nodes.iter().enumerate().rev() {
        let wanted = id == root || matches!(node.op, Op::Append { .. });
        if live[id] || (wanted && node.tokens > 0) {
            live[id] = true;
            for input in node.op.inputs().into_iter().flatten() {
                live[input] = true;
            }
        }
    }
    live
}

fn waits(nodes: &[Node], readers: &[Id], id: Id) -> bool {
    let is = |f: fn(&Op) -> bool| readers.iter().all(|reader| f(&nodes[*reader].op));
    let one = readers.len() == 1;
    match nodes[id].op {
        Op::Norm { .. } => {
            !readers.is_empty() && is(|op| matches!(op, Op::Linear { .. } | Op::Experts { .. }))
        }
        Op::Linear { .. } => {
            one && is(|op| match op {
                Op::Join { sign, .. } => *sign == 1.0,
                Op::Glu { .. } | Op::Route { .. } => true,
                _ => false,
            })
        }
        Op::Experts { .. } => one && is(|op| matches!(op, Op::Join { sign: 1.0, .. })),
        Op::Append { .. } => one && is(|op| matches!(op, Op::Attend { .. })),
        // What only a projection reads may be written as its operands.
        Op::Attend { .. } | Op::Glu { .. } => one && is(|op| matches!(op, Op::Linear { .. })),
        Op::Route { .. } => one && is(|op| matches!(op, Op::Experts { .. })),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tape::{TapeLinear, TapeNorm};
    use super::*;
    use crate::kernels::elementwise::Map;
    use crate::nn::{Act, Glu};

    fn node(op: Op) -> Node {
        Node {
            op,
            tokens: 2,
            width: 8,
        }
    }

    /// Stands for the embedding, which would need a GPU: it reads nothing but itself.
    fn leaf() -> Node {
        node(Op::Map {
            x: 0,
            map: Map::IDENTITY,
        })
    }

    fn norm(x: Id) -> Node {
        node(Op::Norm {
            x,
            norm: TapeNorm {
                centred: false,
                eps: 0.0,
                weight: None,
                bias: None,
            },
        })
    }

    fn linear(x: Id) -> Node {
        node(Op::Linear {
            x,
            linear: TapeLinear {
                parts: [].into(),
                bias: None,
            },
        })
    }

    #[test]
    fn norms_gates_and_sums_join_the_projections() {
        let glu = node(Op::Glu {
            x: 2,
            glu: Glu::Act(Act::Silu),
        });
        let nodes = [
            leaf(),
            norm(0),
            linear(1),
            glu,
            linear(3),
            node(Op::Join {
                a: 0,
                b: 4,
                sign: 1.0,
            }),
        ];
        let order = Order::new(&nodes, 5);
        assert_eq!(order.waits, [false, true, true, true, true, false]);
        assert_eq!(order.dies[5], [4, 3, 2, 1, 0]);
    }

    #[test]
    fn what_two_read_is_computed_at_once() {
        let nodes = [
            leaf(),
            linear(0),
            node(Op::Join {
                a: 1,
                b: 1,
                sign: 1.0,
            }),
            node(Op::Join {
                a: 1,
                b: 2,
                sign: -1.0,
            }),
        ];
        let order = Order::new(&nodes, 3);
        assert_eq!(order.waits, [false; 4]);
        assert_eq!(order.dies[3], [2, 1]);
    }

    #[test]
    fn what_nobody_reads_is_left_out() {
        let nodes = [
            leaf(),
            norm(0),
            linear(0),
            Node {
                tokens: 0,
                ..linear(1)
            },
        ];
        assert_eq!(Order::new(&nodes, 2).live, [true, false, true, false]);
        assert_eq!(Order::new(&nodes, 3).live, [false; 4]);
    }
}
