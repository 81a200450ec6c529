package agents

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/schema"
	"github.com/dawsos/dawsos/pkg/agent"
)

// checkArgs refuses arguments that the capability does not declare, before the agent is asked. An
// argument that is null counts as left out. The fields of the error point into "/args".
func (c *capability) checkArgs(args map[string]any) error {
	if c.args == nil {
		return nil
	}
	violations := schema.Violations(c.args, "/args", given(args))
	if len(violations) == 0 {
		return nil
	}
	// A caller gets the idea, and can't make us echo a whole list of wrong things, nor go through it again at
	// each step that the error passes.
	const most = 50
	dropped := max(len(violations)-most, 0)
	violations = violations[:len(violations)-dropped]
	texts := make([]string, len(violations), len(violations)+1)
	for i, v := range violations {
		if at := strings.TrimPrefix(v.Pointer, "/args"); at != "" {
			texts[i] = "argument " + at + " " + v.Detail
		} else {
			texts[i] = "the arguments " + v.Detail
		}
	}
	if dropped > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", dropped))
	}
	err := fault.New(fault.Invalid, "%s: %s", c.Name, strings.Join(texts, "; "))
	err.Fields = violations
	return err
}

// given returns args without those that are null.
func given(args map[string]any) any {
	for _, v := range args {
		if v != nil {
			continue
		}
		args = maps.Clone(args)
		maps.DeleteFunc(args, func(_ string, v any) bool { return v == nil })
		break
	}
	return args
}

// checkResult holds an agent that is not part of this process to what it has declared: templates
// and conditions were checked against that.
func (c *capability) checkResult(result agent.Result) error {
	const broken = "agent %s answered %s with something that does not fit the schema it declares"
	value, err := jsonValue(result.Value)
	if err != nil {
		return fault.Wrap(err, fault.Internal, broken, c.guard.name, c.Name)
	}
	if violations := schema.Violations(c.result, "", value); len(violations) > 0 {
		v := violations[0]
		return fault.Wrap(fmt.Errorf("%q %s", v.Pointer, v.Detail), fault.Internal, broken, c.guard.name, c.Name)
	}
	return nil
}

// jsonValue returns v as what its JSON reads back as.
func jsonValue(v any) (any, error) {
	raw, ok := v.(json.RawMessage)
	if !ok {
		var err error
		if raw, err = json.Marshal(v); err != nil {
			return nil, err
		}
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var value any
	err := dec.Decode(&value)
	return value, err
}
