//! What a forward pass on a GPU records instead of computing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Buffer, DeviceMatrix, Gpu};
use crate::Result;
use crate::device::DeviceError;
use crate::kernels::elementwise::Map;
use crate::nn::{Act, Apply, Frequencies, Glu, KvSlot, RouterOptions};

/// The operations of one step, in their order.
#[derive(Debug)]
pub(crate) struct Tape {
    pub(super) gpu: Arc<Gpu>,
    pub(super) nodes: Vec<Node>,
}

/// An operation and the shape of its result, f32.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) op: Op,
    pub(super) tokens: usize,
    pub(super) width: usize,
}

/// Index of a node.
pub(super) type Id = usize;

/// An operation; numbers are ids of nodes before it.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Embed {
        table: Arc<DeviceMatrix>,
        scale: f32,
        places: Option<(Arc<DeviceMatrix>, usize)>,
    },
    Norm {
        x: Id,
        norm: TapeNorm,
    },
    Linear {
        x: Id,
        linear: TapeLinear,
    },
    /// `a + sign · b`
    Join {
        a: Id,
        b: Id,
        sign: f32,
    },
    Map {
        x: Id,
        map: Map,
    },
    Gate {
        x: Id,
        gate: Id,
        act: Act,
    },
    Glu {
        x: Id,
        glu: Glu,
    },
    /// Columns from `start` on.
    Columns {
        x: Id,
        start: usize,
    },
    /// The rows whose logits are wanted.
    Wanted {
        x: Id,
    },
    Append {
        qkv: Id,
        slot: KvSlot,
        ops: Vec<TapeOp>,
    },
    Attend {
        q: Id,
        slot: KvSlot,
        options: AttendOptions,
    },
    /// `[tokens, top]` experts, then as many weights.
    Route {
        logits: Id,
        options: RouterOptions,
        select_bias: Option<Arc<Buffer>>,
    },
    Experts {
        x: Id,
        routes: Id,
        experts: Arc<DeviceExperts>,
        top: usize,
        apply: Apply,
    },
}

impl Op {
    /// The nodes that it reads.
    pub(super) fn inputs(&self) -> [Option<Id>; 2] {
        match *self {
            Self::Embed { .. } => [None, None],
            Self::Norm { x, .. }
            | Self::Linear { x, .. }
            | Self::Map { x, .. }
            | Self::Glu { x, .. }
            | Self::Columns { x, .. }
            | Self::Wanted { x }
            | Self::Append { qkv: x, .. }
            | Self::Attend { q: x, .. }
            | Self::Route { logits: x, .. } => [Some(x), None],
            Self::Join { a, b, .. } => [Some(a), Some(b)],
            Self::Gate { x, gate, .. } => [Some(x), Some(gate)],
            Self::Experts { x, routes, .. } => [Some(x), Some(routes)],
        }
    }
}

/// A norm's settings and weights.
#[derive(Clone, Debug)]
pub(crate) struct TapeNorm {
    /// Whether the mean is subtracted.
    pub(crate) centred: bool,
    pub(crate) eps: f32,
    /// `[width]`
    pub(crate) weight: Option<Arc<Buffer>>,
    /// `[width]`
    pub(crate) bias: Option<Arc<Buffer>>,
}

/// Matrices whose rows one after the other are a projection.
#[derive(Clone, Debug)]
pub(crate) struct TapeLinear {
    pub(crate) parts: Arc<[DeviceMatrix]>,
    /// Of all rows.
    pub(crate) bias: Option<Arc<Buffer>>,
}

/// What is done to queries, keys and values.
#[derive(Clone, Debug)]
pub(crate) enum TapeOp {
    Clip(f32),
    /// Norms of queries and of keys.
    Norm(TapeHeadNorm, TapeHeadNorm),
    Rope {
        frequencies: Arc<Frequencies>,
        adjacent: bool,
    },
    Temperature {
        scale: f32,
        floor: f32,
        from_one: bool,
    },
    ScaleValues(f32),
}

/// Norms of neighbouring heads.
#[derive(Clone, Debug)]
pub(crate) struct TapeHeadNorm {
    pub(crate) norm: TapeNorm,
    /// Numbers of one norm.
    pub(crate) width: usize,
    /// Numbers of weight from one norm to the next.
    pub(crate) step: usize,
}

/// How scores are made.
#[derive(Clone, Debug)]
pub(crate) struct AttendOptions {
    pub(crate) scale: f32,
    /// 0 is off.
    pub(crate) softcap: f32,
    pub(crate) alibi: bool,
    pub(crate) sinks: Option<Arc<Buffer>>,
}

/// A layer's experts on the device.
#[derive(Debug)]
pub(crate) struct DeviceExperts {
    /// `[experts * 2 * inter, hidden]`: of each expert gate, then up
    pub(crate) gate_up: DeviceMatrix,
    pub(crate) gate_up_bias: Option<Buffer>,
    /// `[experts * hidden, inter]`
    pub(crate) down: DeviceMatrix,
    pub(crate) down_bias: Option<Buffer>,
    pub(crate) count: usize,
    pub(crate) inter: usize,
    pub(crate) hidden: usize,
    pub(crate) act: Glu,
}

/// The result of a recorded operation.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    tape: Arc<Mutex<Tape>>,
    id: Id,
    tokens: usize,
    width: usize,
}

impl Value {
    /// Begins a tape with the step's embeddings, `[tokens, width]`.
    pub(crate) fn embed(
        gpu: &Arc<Gpu>,
        table: &Arc<DeviceMatrix>,
        scale: f32,
        places: Option<(Arc<DeviceMatrix>, usize)>,
        tokens: usize,
    ) -> Self {
        let width = table.arg().cols as usize;
        let op = Op::Embed {
            table: Arc::clone(table),
            scale,
            places,
        };
        let tape = Tape {
            gpu: Arc::clone(gpu),
            nodes: vec![Node { op, tokens, width }],
        };
        Self {
            tape: Arc::new(Mutex::new(tape)),
            id: 0,
            tokens,
            width,
        }
    }

    pub(crate) fn tokens(&self) -> usize {
        self.tokens
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn id(&self) -> Id {
        self.id
    }

    pub(super) fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn gpu(&self) -> Arc<Gpu> {
        Arc::clone(&self.tape().gpu)
    }

    fn record(&self, op: Op, tokens: usize, width: usize) -> Self {
        let mut tape = self.tape();
        tape.nodes.push(Node { op, tokens, width });
        let id = tape.nodes.len() - 1;
        drop(tape);
        Self {
            tape: Arc::clone(&self.tape),
            id,
            tokens,
            width,
        }
    }

    /// The id of another value, which must be of the same tape.
    fn other(&self, other: &Self) -> Result<Id> {
        if Arc::ptr_eq(&self.tape, &other.tape) {
            Ok(other.id)
        } else {
            Err(DeviceError::Mixed("activations of two steps cannot be joined").into())
        }
    }

    pub(crate) fn norm(&self, norm: TapeNorm) -> Self {
        self.record(Op::Norm { x: self.id, norm }, self.tokens, self.width)
    }

    pub(crate) fn linear(&self, linear: TapeLinear, rows: usize) -> Self {
        self.record(Op::Linear { x: self.id, linear }, self.tokens, rows)
    }

    /// `self + sign · other`, of the same shape.
    pub(crate) fn join(&self, other: &Self, sign: f32) -> Result<Self> {
        let b = self.other(other)?;
        Ok(self.record(
            Op::Join {
                a: self.id,
                b,
                sign,
            },
            self.tokens,
            self.width,
        ))
    }

    pub(crate) fn map(&self, map: Map) -> Self {
        self.record(Op::Map { x: self.id, map }, self.tokens, self.width)
    }

    /// A gate's width divides the own one.
    pub(crate) fn gated(&self, gate: &Self, act: Act) -> Result<Self> {
        let gate = self.other(gate)?;
        Ok(self.record(
            Op::Gate {
                x: self.id,
                gate,
                act,
            },
            self.tokens,
            self.width,
        ))
    }

    pub(crate) fn glu(&self, glu: Glu) -> Self {
        self.record(Op::Glu { x: self.id, glu }, self.tokens, self.width / 2)
    }

    pub(crate) fn columns(&self, start: usize, width: usize) -> Self {
        self.record(Op::Columns { x: self.id, start }, self.tokens, width)
    }

    pub(crate) fn wanted(&self, rows: usize) -> Self {
        self.record(Op::Wanted { x: self.id }, rows, self.width)
    }

    pub(crate) fn append(&self, slot: KvSlot, ops: Vec<TapeOp>) -> Self {
        let width = slot.heads.q_rows();
        self.record(
            Op::Append {
                qkv: self.id,
                slot,
                ops,
            },
            self.tokens,
            width,
        )
    }

    pub(crate) fn attend(&self, slot: KvSlot, options: AttendOptions) -> Self {
        let width = slot.heads.out_rows();
        self.record(
            Op::Attend {
                q: self.id,
                slot,
                options,
            },
            self.tokens,
            width,
        )
    }

    /// Of logits `[tokens, experts]`.
    pub(crate) fn route(&self, options: RouterOptions, select_bias: Option<Arc<Buffer>>) -> Self {
        let op = Op::Route {
            logits: self.id,
            options,
            select_bias,
        };
        self.record(op, self.tokens, 2 * options.top)
    }

    pub(crate) fn experts(
        &self,
        routes: &Self,
        experts: &Arc<DeviceExperts>,
        apply: Apply,
    ) -> Result<Self> {
        let top = routes.width / 2;
        let (routes, experts) = (self.other(routes)?, Arc::clone(experts));
        let op = Op::Experts {
            x: self.id,
            routes,
            experts,
            top,
            apply,
        };
        Ok(self.record(op, self.tokens, self.width))
    }
}
