package console

import (
	"fmt"
	"strings"

	"github.com/dawsos/dawsos/pkg/pattern"
)

// graph is a pattern's steps laid out from left to right: each in the column after the last one that it waits
// for. Units are those of the drawing.
type graph struct {
	Width, Height int
	Nodes         []node
	Edges         []edge
}

type node struct {
	X, Y, Width, Height  int
	Name, Capability     string
	Waits                []string // names of the steps that it waits for
	Conditional, Outputs bool
}

type edge struct{ Path string }

const (
	nodeWidth, nodeHeight = 190, 48
	columnGap, rowGap     = 56, 18
	margin                = 8
)

// newGraph lays out the steps; waits are by step those that it begins after, all of them earlier ones or not.
func newGraph(d *pattern.Definition, waits [][]int) graph {
	layers := make([]int, len(d.Steps))
	// Steps stand in any order, and never wait for each other in a circle: as many rounds as there are steps
	// settle the longest chain.
	for range d.Steps {
		for i := range d.Steps {
			for _, before := range waits[i] {
				layers[i] = max(layers[i], layers[before]+1)
			}
		}
	}
	outputs := map[string]bool{}
	for _, name := range d.Outputs.Names() {
		outputs[name] = true
	}
	var g graph
	rows := map[int]int{}
	for i, s := range d.Steps {
		n := node{
			X: margin + layers[i]*(nodeWidth+columnGap), Y: margin + rows[layers[i]]*(nodeHeight+rowGap), Width: nodeWidth, Height: nodeHeight,
			Name: s.As, Capability: s.Capability, Conditional: s.Condition != "", Outputs: outputs[s.As],
		}
		for _, before := range waits[i] {
			n.Waits = append(n.Waits, d.Steps[before].As)
		}
		rows[layers[i]]++
		g.Nodes = append(g.Nodes, n)
		g.Width, g.Height = max(g.Width, n.X+nodeWidth+margin), max(g.Height, n.Y+nodeHeight+margin)
	}
	for i := range d.Steps {
		for _, before := range waits[i] {
			from, to := g.Nodes[before], g.Nodes[i]
			x1, y1, x2, y2 := from.X+nodeWidth, from.Y+nodeHeight/2, to.X, to.Y+nodeHeight/2
			bend := (x2 - x1) / 2
			g.Edges = append(g.Edges, edge{fmt.Sprintf("M%d %d C%d %d %d %d %d %d", x1, y1, x1+bend, y1, x2-bend, y2, x2, y2)})
		}
	}
	return g
}

// WaitsFor names the steps that a step waits for.
func (n node) WaitsFor() string {
	if len(n.Waits) == 0 {
		return "nothing"
	}
	return strings.Join(n.Waits, ", ")
}
