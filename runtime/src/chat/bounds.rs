//! What Jinja does with lists, at a price.
//!
//! minijinja counts the work of a template as fuel, with gaps: joining, repeating and slicing lists is lazy and costs nothing,
//! so `x = x + x` sixty times is a list that no memory holds. Here these operators are calls of functions that make the list
//! at once and charge for its length. The filters that have the same gap are replaced, or taken away where Jinja2 has none of
//! that name.

use minijinja::machinery::{CompiledTemplate, Instruction, Instructions};
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value, context, filters};

/// Elements of a list that cost one unit of fuel; the unit is an instruction's work, or 64 bytes.
const ELEMENTS_PER_FUEL: usize = 32;
/// Bytes of a text that cost one.
const BYTES_PER_FUEL: usize = 64;
/// The longest rows that `batch` may make and fill.
const LONGEST_BATCH: usize = 1000;

const ADD: &str = "bounded add";
const MULTIPLY: &str = "bounded multiply";
const SLICE: &str = "bounded slice";

/// Gives an environment the functions that [`guard`] makes templates call. No template can call them: their names are none.
pub(super) fn install(env: &mut Environment<'_>) {
    env.add_function(ADD, add);
    env.add_function(MULTIPLY, multiply);
    env.add_function(SLICE, slice);
    env.add_filter("sum", sum);
    env.add_filter("batch", batch);
    // Jinja2 has neither.
    env.remove_filter("chain");
    env.remove_filter("zip");
}

/// Replaces the operators.
pub(super) fn guard(template: &mut CompiledTemplate<'_>) {
    let blocks = template.blocks.values_mut();
    for instructions in [&mut template.instructions].into_iter().chain(blocks) {
        guard_all(instructions);
    }
}

fn guard_all(instructions: &mut Instructions<'_>) {
    let mut index = 0;
    while let Some(instruction) = instructions.get_mut(index) {
        let call = match instruction {
            Instruction::Add => Some((ADD, 2)),
            Instruction::Mul => Some((MULTIPLY, 2)),
            Instruction::Slice => Some((SLICE, 4)),
            _ => None,
        };
        if let Some((function, arguments)) = call {
            *instruction = Instruction::CallFunction(function, Some(arguments));
        }
        index += 1;
    }
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) && !value.is_tuple()
}

/// Pays for a list before it is made.
fn charge(state: &State, elements: usize) -> Result<(), Error> {
    state.consume_fuel((elements / ELEMENTS_PER_FUEL) as u64 + 1)
}

fn length(value: &Value) -> Result<usize, Error> {
    value.len().ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidOperation,
            "a list of unknown length cannot be used here",
        )
    })
}

/// What minijinja itself makes of an operator.
fn natively(state: &State, expression: &str, operands: Value) -> Result<Value, Error> {
    let result = state
        .env()
        .compile_expression(expression)
        .and_then(|expression| expression.eval(operands));
    match result {
        Ok(value) => {
            if let Some(text) = value.as_str() {
                state.consume_fuel((text.len() / BYTES_PER_FUEL) as u64)?;
            }
            Ok(value)
        }
        // Without the place in our own little expression.
        Err(error) => Err(Error::new(
            error.kind(),
            error.detail().unwrap_or_default().to_string(),
        )),
    }
}

/// A list that is no longer lazy, so that no pile of lazy ones can grow.
fn made(value: Value) -> Result<Value, Error> {
    if is_list(&value) {
        return Ok(Value::from(value.try_iter()?.collect::<Vec<_>>()));
    }
    Ok(value)
}

fn add(state: &State, a: Value, b: Value) -> Result<Value, Error> {
    if !(is_list(&a) && is_list(&b)) {
        return natively(state, "a + b", context! { a, b });
    }
    charge(state, length(&a)?.saturating_add(length(&b)?))?;
    Ok(Value::from(
        a.try_iter()?.chain(b.try_iter()?).collect::<Vec<_>>(),
    ))
}

fn multiply(state: &State, a: Value, b: Value) -> Result<Value, Error> {
    for (list, times) in [(&a, &b), (&b, &a)] {
        if is_list(list) {
            let times = usize::try_from(times.as_i64().unwrap_or(0)).unwrap_or(0);
            charge(state, length(list)?.saturating_mul(times))?;
        }
    }
    made(natively(state, "a * b", context! { a, b })?)
}

fn slice(state: &State, of: Value, start: Value, stop: Value, step: Value) -> Result<Value, Error> {
    if is_list(&of) {
        charge(state, length(&of)?)?;
    }
    let operands = context! { of, start, stop, step };
    made(natively(state, "of[start:stop:step]", operands)?)
}

/// Jinja2's `sum`, which also joins lists when it starts with one.
fn sum(
    state: &State,
    values: Value,
    attribute: Option<&str>,
    start: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let first = match &start {
        Some(start) => Some(start.clone()),
        None => options.peek::<Option<Value>>("start")?,
    };
    let Some(mut sum) = first.filter(is_list) else {
        return filters::sum(state, values, attribute, start, options);
    };
    let named: Option<&str> = options.get("attribute")?;
    let _: Option<Value> = options.get("start")?;
    options.assert_all_used()?;
    for item in values.try_iter()? {
        let item = match attribute.or(named) {
            Some(attribute) => item.get_attr(attribute)?,
            None => item,
        };
        sum = add(state, sum, item)?;
    }
    Ok(sum)
}

fn batch(state: &State, values: Value, count: usize, fill: Option<Value>) -> Result<Value, Error> {
    if count > LONGEST_BATCH {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("batch: rows have at most {LONGEST_BATCH} items"),
        ));
    }
    charge(state, count)?;
    filters::batch(state, values, count, fill)
}
