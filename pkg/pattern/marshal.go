package pattern

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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

// UnmarshalJSON implements json.Unmarshaler, for clients that read what a server wrote; it checks no
// more than it needs. Numbers become json.Number.
func (o *Outputs) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		var names []string
		if err := json.Unmarshal(data, &names); err != nil {
			return err
		}
		*o = make(Outputs, len(names))
		for i, name := range names {
			(*o)[i].Name = name
		}
		return nil
	}
	dec := numberDecoder(data)
	start, err := dec.Token()
	if err != nil {
		return err
	}
	if start != json.Delim('{') {
		return errors.New("outputs are an array of names or an object of values")
	}
	*o = Outputs{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		output := Output{Name: key.(string)} // the decoder lets nothing else stand here
		if err := dec.Decode(&output.Value); err != nil {
			return err
		}
		*o = append(*o, output)
	}
	return nil
}

// numberDecoder reads numbers as json.Number.
func numberDecoder(data []byte) *json.Decoder {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	return dec
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

// UnmarshalJSON implements json.Unmarshaler. "fail" becomes the zero value, as it does in Parse.
func (o *OnError) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '{' {
		var v struct {
			Fallback any `json:"fallback"`
		}
		if err := numberDecoder(data).Decode(&v); err != nil {
			return err
		}
		*o = OnError{Mode: Fallback, Fallback: v.Fallback}
		return nil
	}
	var mode Mode
	if err := json.Unmarshal(data, &mode); err != nil {
		return err
	}
	switch mode {
	case Fail:
		*o = OnError{}
	case Continue:
		*o = OnError{Mode: mode}
	default:
		return fmt.Errorf("%q is no way to go on after an error", mode)
	}
	return nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	t, err := time.ParseDuration(s)
	*d = Duration(t)
	return err
}

// UnmarshalJSON implements json.Unmarshaler, for clients that read what a server wrote: numbers
// become json.Number, so that they keep all digits, and unknown keys are passed over. Only Parse
// checks a definition.
func (d *Definition) UnmarshalJSON(data []byte) error {
	type plain Definition // without this method
	return numberDecoder(data).Decode((*plain)(d))
}
