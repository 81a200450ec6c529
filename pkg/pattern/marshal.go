package pattern

import (
	"bytes"
	"encoding/json"
	"time"
)

// Names returns the outputs' names in order.
func (o Outputs) Names() []string {
	names := make([]string, len(o))
	for i, output := range o {
		names[i] = output.Name
	}
	return names
}

// MarshalJSON implements json.Marshaler: an array of names when that says all, else an object.
func (o Outputs) MarshalJSON() ([]byte, error) {
	mapped := false
	for _, output := range o {
		mapped = mapped || output.Value != nil
	}
	if !mapped {
		return json.Marshal(o.Names())
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for i, output := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(output.Name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(output.Value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// IsZero reports whether it is the default, Fail.
func (o OnError) IsZero() bool { return o.Mode == "" || o.Mode == Fail }

// MarshalJSON implements json.Marshaler.
func (o OnError) MarshalJSON() ([]byte, error) {
	if o.Mode == Fallback {
		return json.Marshal(map[string]any{"fallback": o.Fallback})
	}
	if o.Mode == "" {
		return json.Marshal(Fail)
	}
	return json.Marshal(o.Mode)
}

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }
