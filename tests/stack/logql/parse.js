// Reads a JSON list of LogQL queries and prints their syntax trees, as the parser of Grafana's query editor sees them:
// [name, ...children], or [name, text] without any.
import { readFileSync } from "node:fs";
import { parser } from "@grafana/lezer-logql";

function tree(node, text) {
  const children = [];
  for (let child = node.firstChild; child; child = child.nextSibling) children.push(tree(child, text));
  return children.length ? [node.name, ...children] : [node.name, text.slice(node.from, node.to)];
}

const queries = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(queries.map((text) => tree(parser.parse(text).topNode, text))));
