// Package apifuzz asks an API everything that its OpenAPI document lets one ask, and much that it does
// not, and holds every answer against the document.
//
// The API is a black box behind an address. Requests are made from the schemas: as the document wants
// them, and bent in one or two places. Ids, cursors and ETags of answers are remembered, so that later
// requests reach what earlier ones made.
//
//	document ──▶ request n of seed s ──▶ bend it ──▶ API ──▶ check the answer ──▶ findings
//	                 ▲                                          │
//	                 └────────────── memory ◀───────────────────┘
//
// A request is made of the seed, its number and the memory. The memory depends on the order of the answers
// and on ids that the API draws, so a seed makes a run similar, not equal. A finding therefore holds its
// whole request.
package apifuzz
