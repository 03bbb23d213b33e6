//! The language's expressions and steps: text to tree, with byte ranges for error messages.

mod lexer;

use std::fmt;
use std::ops::Range;

use crate::ir::{BinaryOp, StepOp};
use lexer::{Token, lex};

/// Deeper nesting is refused, so that no text can exhaust the stack.
const MAX_DEPTH: usize = 48;

/// Words that no field, `let` or variable may be called.
pub(crate) const RESERVED: [&str; 15] = [
    "true", "false", "none", "if", "else", "i", "config", "sqrt", "ln", "floor", "min", "max",
    "len", "contains", "at",
];

/// A parsed expression; names are not looked up yet.
#[derive(Clone, Debug)]
pub(crate) struct Ast {
    pub(crate) kind: AstKind,
    /// Bytes of the text.
    pub(crate) range: Range<usize>,
}

/// The forms of an expression.
#[derive(Clone, Debug)]
pub(crate) enum AstKind {
    Number(f64),
    Str(String),
    /// Also `true`, `none`, `i`, ..
    Name(String),
    Neg(Box<Ast>),
    Not(Box<Ast>),
    Binary(BinaryOp, Box<Ast>, Box<Ast>),
    If(Box<Ast>, Box<Ast>, Box<Ast>),
    Index(Box<Ast>, Box<Ast>),
    /// The callee's range, without arguments.
    Call(String, Range<usize>, Vec<Ast>),
}

/// A parsed step.
#[derive(Clone, Debug)]
pub(crate) struct StepAst {
    pub(crate) var: String,
    pub(crate) var_range: Range<usize>,
    pub(crate) op: StepOp,
    pub(crate) expr: Ast,
}

/// What is wrong with a text, and where in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ParseError {
    pub(crate) range: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl ParseError {
    fn new(range: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            range,
            message: message.into(),
            help: None,
        }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Parses an expression.
pub(crate) fn parse(text: &str) -> Result<Ast, ParseError> {
    let mut parser = Parser::new(text)?;
    let ast = parser.expr()?;
    parser.end()?;
    Ok(ast)
}

/// Parses `var = expr`, `var += expr` or `var *= expr`.
pub(crate) fn parse_step(text: &str) -> Result<StepAst, ParseError> {
    let mut parser = Parser::new(text)?;
    let form = "a step is `var = expr`, `var += expr` or `var *= expr`";
    let (token, var_range) = parser.next();
    let Token::Name(var) = token else {
        return Err(ParseError::new(var_range, "expected a variable").help(form));
    };
    let (token, range) = parser.next();
    let op = match token {
        Token::Sign("=") => StepOp::Set,
        Token::Sign("+=") => StepOp::Add,
        Token::Sign("*=") => StepOp::Mul,
        _ => return Err(ParseError::new(range, "expected `=`, `+=` or `*=`").help(form)),
    };
    let expr = parser.expr()?;
    parser.end()?;
    Ok(StepAst {
        var,
        var_range,
        op,
        expr,
    })
}

/// The operator that a sign stands for, and how tightly it binds.
fn operator(token: &Token) -> Option<(BinaryOp, u8)> {
    let Token::Sign(sign) = token else {
        return None;
    };
    Some(match *sign {
        "||" => (BinaryOp::Or, 0),
        "&&" => (BinaryOp::And, 1),
        "==" => (BinaryOp::Eq, 2),
        "!=" => (BinaryOp::Ne, 2),
        "<" => (BinaryOp::Lt, 2),
        "<=" => (BinaryOp::Le, 2),
        ">" => (BinaryOp::Gt, 2),
        ">=" => (BinaryOp::Ge, 2),
        "+" => (BinaryOp::Add, 3),
        "-" => (BinaryOp::Sub, 3),
        "*" => (BinaryOp::Mul, 4),
        "/" => (BinaryOp::Div, 4),
        "%" => (BinaryOp::Rem, 4),
        _ => return None,
    })
}

/// Level of unary operators, above all binary ones.
const UNARY: u8 = 5;

struct Parser {
    tokens: Vec<(Token, Range<usize>)>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn new(text: &str) -> Result<Self, ParseError> {
        Ok(Self {
            tokens: lex(text)?,
            at: 0,
            depth: 0,
        })
    }

    fn peek(&self) -> (&Token, Range<usize>) {
        // The last token is `End`, and nothing moves behind it.
        let (token, range) = &self.tokens[self.at];
        (token, range.clone())
    }

    fn next(&mut self) -> (Token, Range<usize>) {
        let token = self.tokens[self.at].clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn eat(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek().0, Token::Sign(found) if *found == sign);
        if found {
            self.next();
        }
        found
    }

    fn need(&mut self, sign: &str, why: &str) -> Result<Range<usize>, ParseError> {
        let range = self.peek().1;
        if self.eat(sign) {
            return Ok(range);
        }
        Err(self.unexpected(&format!("expected `{sign}` {why}")))
    }

    fn unexpected(&self, message: &str) -> ParseError {
        let (token, range) = self.peek();
        match token {
            Token::End => ParseError::new(range, format!("{message}, but the text ends here")),
            Token::Sign("=") => ParseError::new(range, message).help("equality is `==`"),
            _ => ParseError::new(range, message),
        }
    }

    fn end(&self) -> Result<(), ParseError> {
        match self.peek().0 {
            Token::End => Ok(()),
            _ => Err(self.unexpected("expected an operator or the end")),
        }
    }

    fn expr(&mut self) -> Result<Ast, ParseError> {
        self.deeper(|parser| parser.binary(0))
    }

    fn deeper<T>(
        &mut self,
        f: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        if self.depth >= MAX_DEPTH {
            let error = ParseError::new(
                self.peek().1,
                format!("nested deeper than {MAX_DEPTH} levels"),
            );
            return Err(error.help("split it with `let`"));
        }
        self.depth += 1;
        let result = f(self);
        self.depth -= 1;
        result
    }

    fn binary(&mut self, level: u8) -> Result<Ast, ParseError> {
        if level == UNARY {
            return self.unary();
        }
        let mut left = self.binary(level + 1)?;
        while let Some((op, _)) = operator(self.peek().0).filter(|(_, found)| *found == level) {
            self.next();
            let right = self.binary(level + 1)?;
            let range = left.range.start..right.range.end;
            left = Ast {
                kind: AstKind::Binary(op, Box::new(left), Box::new(right)),
                range,
            };
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Ast, ParseError> {
        let start = self.peek().1.start;
        let wrap: fn(Box<Ast>) -> AstKind = if self.eat("-") {
            AstKind::Neg
        } else if self.eat("!") {
            AstKind::Not
        } else {
            return self.postfix();
        };
        let inner = self.deeper(Self::unary)?;
        let range = start..inner.range.end;
        Ok(Ast {
            kind: wrap(Box::new(inner)),
            range,
        })
    }

    fn postfix(&mut self) -> Result<Ast, ParseError> {
        let mut ast = self.primary()?;
        loop {
            let open = self.peek().1;
            if self.eat("(") {
                ast = self.call(ast, open)?;
            } else if self.eat("[") {
                let index = self.expr()?;
                let close = self.need("]", "to close the index")?;
                let range = ast.range.start..close.end;
                ast = Ast {
                    kind: AstKind::Index(Box::new(ast), Box::new(index)),
                    range,
                };
            } else {
                return Ok(ast);
            }
        }
    }

    fn call(&mut self, callee: Ast, open: Range<usize>) -> Result<Ast, ParseError> {
        let AstKind::Name(name) = callee.kind else {
            return Err(ParseError::new(open, "only a name can be called"));
        };
        let mut args = Vec::new();
        let mut close = self.peek().1;
        if !self.eat(")") {
            loop {
                args.push(self.expr()?);
                close = self.peek().1;
                if self.eat(")") {
                    break;
                }
                self.need(",", "or `)` in the arguments")?;
            }
        }
        Ok(Ast {
            range: callee.range.start..close.end,
            kind: AstKind::Call(name, callee.range, args),
        })
    }

    fn primary(&mut self) -> Result<Ast, ParseError> {
        let expected = self.unexpected("expected a number, a string, a name, `(` or `if`");
        let (token, range) = self.next();
        let kind = match token {
            Token::Number(number) => AstKind::Number(number),
            Token::Str(text) => AstKind::Str(text),
            Token::Name(name) if name == "if" => return self.choice(range),
            Token::Name(name) if name == "else" => return Err(expected),
            Token::Name(name) => AstKind::Name(name),
            Token::Sign("(") => {
                let inner = self.expr()?;
                let close = self.need(")", "to close this parenthesis")?;
                return Ok(Ast {
                    range: range.start..close.end,
                    ..inner
                });
            }
            _ => return Err(expected),
        };
        Ok(Ast { kind, range })
    }

    fn choice(&mut self, start: Range<usize>) -> Result<Ast, ParseError> {
        let condition = self.expr()?;
        self.need("{", "after the condition")?;
        let yes = self.expr()?;
        self.need("}", "to close this branch")?;
        if !matches!(self.peek().0, Token::Name(name) if name == "else") {
            let error = self.unexpected("expected `else`");
            return Err(error.help("an `if` gives a value, so it needs both branches"));
        }
        self.next();
        if matches!(self.peek().0, Token::Name(name) if name == "if") {
            let error = self.unexpected("there is no `else if`");
            return Err(error.help("nest an `if` in the braces: `else { if .. }`"));
        }
        self.need("{", "after `else`")?;
        let no = self.expr()?;
        let close = self.need("}", "to close this branch")?;
        Ok(Ast {
            kind: AstKind::If(Box::new(condition), Box::new(yes), Box::new(no)),
            range: start.start..close.end,
        })
    }
}

impl Ast {
    /// Calls `f` for this expression and all inside it, outermost first.
    pub(crate) fn walk<'a>(&'a self, f: &mut impl FnMut(&'a Ast)) {
        f(self);
        match &self.kind {
            AstKind::Number(_) | AstKind::Str(_) | AstKind::Name(_) => {}
            AstKind::Neg(a) | AstKind::Not(a) => a.walk(f),
            AstKind::Binary(_, a, b) | AstKind::Index(a, b) => {
                a.walk(f);
                b.walk(f);
            }
            AstKind::If(a, b, c) => {
                a.walk(f);
                b.walk(f);
                c.walk(f);
            }
            AstKind::Call(_, _, args) => args.iter().for_each(|arg| arg.walk(f)),
        }
    }
}

/// A spelling that parses to the same tree: one form for all ways to write it.
impl fmt::Display for Ast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            AstKind::Number(number) => write!(f, "{number}"),
            AstKind::Str(text) => write!(f, "\"{text}\""),
            AstKind::Name(name) => f.write_str(name),
            AstKind::Neg(a) => write!(f, "(-{a})"),
            AstKind::Not(a) => write!(f, "(!{a})"),
            AstKind::Binary(op, a, b) => write!(f, "({a} {op} {b})"),
            AstKind::If(c, a, b) => write!(f, "if {c} {{ {a} }} else {{ {b} }}"),
            AstKind::Index(a, b) => write!(f, "{a}[{b}]"),
            AstKind::Call(name, _, args) => {
                let args: Vec<String> = args.iter().map(Ast::to_string).collect();
                write!(f, "{name}({})", args.join(", "))
            }
        }
    }
}

/// The sign.
impl fmt::Display for BinaryOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Or => "||",
            Self::And => "&&",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Rem => "%",
        })
    }
}

#[cfg(test)]
mod tests;
