package pattern

import (
	"encoding/json"
	"slices"
	"strings"
)

// Keys of a declaration besides its type. Those of only are left to some types.
var (
	itemKeys  = append([]string{"description"}, onlyKeys()...)
	inputKeys = append([]string{"required", "default"}, itemKeys...)
)

// only lists the keys that mean something to some types only.
var only = []struct {
	keys  []string
	types []Type
	msg   string
}{
	{[]string{"minimum", "maximum"}, []Type{Integer, Number}, "only integers and numbers have bounds"},
	{[]string{"min_length", "max_length"}, []Type{String}, "only strings have a length"},
	{[]string{"values"}, []Type{Enum}, "only enums have values"},
	{[]string{"items", "min_items", "max_items"}, []Type{Array}, "only arrays have items"},
	{[]string{"properties"}, []Type{Object}, "only objects have properties"},
}

func onlyKeys() []string {
	var keys []string
	for _, o := range only {
		keys = append(keys, o.keys...)
	}
	return keys
}

func (d *document) inputs(n *node) map[string]Input {
	members := d.members(n, MaxInputs, "inputs")
	if len(members) == 0 {
		return nil
	}
	inputs := make(map[string]Input, len(members))
	for _, m := range members {
		d.checkKey(m)
		inputs[m.key] = d.input(m.value, inputKeys)
	}
	return inputs
}

// input reads a declaration: of an input or a property, or of an array's items, which have fewer
// keys.
func (d *document) input(n *node, optional []string) Input {
	f := d.fields(n, []string{"type"}, optional)
	in := Input{Type: Type(d.text(f, "type")), Description: d.text(f, "description")}
	if required := d.boolean(f, "required"); required != nil {
		in.Required = *required
	}

	before := d.failed()
	known := slices.Contains(types, in.Type)
	if t := f["type"]; t != nil && t.kind == kindString && !known {
		d.failUnknown(t.start, t, string(in.Type), typeNames(), "unknown type %q; allowed are %s",
			shorten(string(in.Type)), strings.Join(typeNames(), ", "))
	}
	if known {
		d.keysOfType(f, in.Type)
	}
	in.Minimum, in.Maximum = d.bound(f["minimum"], in.Type), d.bound(f["maximum"], in.Type)
	if in.Minimum != "" && in.Maximum != "" && compareNumbers(in.Type, in.Minimum, in.Maximum) > 0 {
		d.failAt(f["minimum"], "the minimum %s is above the maximum %s", in.Minimum, in.Maximum)
	}
	in.MinLength, in.MaxLength = d.bounds(f, "min_length", "max_length")
	in.MinItems, in.MaxItems = d.bounds(f, "min_items", "max_items")
	in.Values = d.values(f)
	if in.Type == Enum && f["values"] == nil {
		d.failAt(n, `"values" is missing`)
	}
	if items := f["items"]; items != nil {
		in.Items = new(d.input(items, itemKeys))
	}
	in.Properties = d.properties(f["properties"])

	if def := f["default"]; def != nil && def.kind != kindNull {
		if in.Required {
			d.failAt(def, "a required input has no use for a default")
		}
		if known && d.failed() == before { // else there is nothing to check it against
			in.Default = d.defaultValue(in, def)
		}
	}
	return in
}

// keysOfType reports the keys that mean nothing to a type, and takes them out.
func (d *document) keysOfType(f fields, t Type) {
	for _, o := range only {
		if slices.Contains(o.types, t) {
			continue
		}
		for _, key := range o.keys {
			if n := f[key]; n != nil {
				d.failAt(n, "%s", o.msg)
				delete(f, key)
			}
		}
	}
}

// bound returns the bound of an integer or a number.
func (d *document) bound(n *node, t Type) json.Number {
	if n == nil || (t != Integer && t != Number) {
		return ""
	}
	v, err := Input{Type: t}.Value(n.plain())
	if err != nil {
		d.failAt(n, "%v", err)
		return ""
	}
	return v.(json.Number) // the value of an integer or number is one
}

// bounds returns the bounds of a length or a number of items, nil for none.
func (d *document) bounds(f fields, low, high string) (least, most *int) {
	least, most = d.count(f, low, 0, maxCount), d.count(f, high, 0, maxCount)
	if least != nil && most != nil && *least > *most {
		d.failAt(f[low], "the %s %d is above the %s %d", low, *least, high, *most)
	}
	return least, most
}

func (d *document) values(f fields) []string {
	var values []string
	taken := make(map[string]struct{})
	for _, n := range d.list(f, "values", MaxValues) {
		if !d.is(n, kindString) {
			continue
		}
		value := n.value.(string) // as its kind says
		if _, repeated := taken[value]; repeated {
			d.failAt(n, "%q is repeated", shorten(value))
		}
		taken[value] = struct{}{}
		values = append(values, value)
	}
	return values
}

func (d *document) properties(n *node) map[string]Input {
	members := d.members(n, MaxInputs, "properties")
	if n != nil && n.kind == kindObject && len(n.members) == 0 {
		// It could mean an object that must be empty, or one about which nothing is said.
		d.failAt(n, "must not be empty; leave it out to take any object")
	}
	if len(members) == 0 {
		return nil
	}
	properties := make(map[string]Input, len(members))
	for _, m := range members {
		if c := length(m.key); c > MaxProperty {
			d.fail(m.keyStart, m.value, "the name has %d characters, %d are allowed", c, MaxProperty)
		}
		properties[m.key] = d.input(m.value, inputKeys)
	}
	return properties
}

// defaultValue returns the canonical form of a default.
func (d *document) defaultValue(in Input, n *node) any {
	v, errs := in.check(n.plain(), &d.budget)
	for _, e := range errs {
		at := n.find(e.Pointer)
		d.record(at.start, n.pointer()+e.Pointer, "", "%s", e.Msg)
	}
	if len(errs) > 0 {
		return nil
	}
	return v
}
