package mesh

// SetChance replaces what the mesh draws from [0, 1), before its first call.
func (m *Mesh) SetChance(draw func() float64) { m.chance = draw }
